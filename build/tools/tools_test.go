package tools_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
	"slipway/build/lock"
	"slipway/build/tools"
)

// program is the least that counts as a program for x86-64; a dynamic one
// asks for a loader. It cannot run.
func program(t *testing.T, dynamic bool) string {
	t.Helper()
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	p := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if dynamic {
		p.Type = uint32(elf.PT_INTERP)
	}
	var b bytes.Buffer
	require.NoError(t, binary.Write(&b, binary.LittleEndian, h))
	require.NoError(t, binary.Write(&b, binary.LittleEndian, p))
	return b.String()
}

// source is a Provider of packages in memory.
type source struct {
	files    map[[32]byte][]byte
	today    *lock.Lock // what Resolve finds
	gone     bool       // the pinned packages are
	fetches  int
	resolves int
	mu       sync.Mutex
}

func (s *source) Fetch(_ context.Context, l *lock.Lock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if s.gone && l.Packages[0].Version == "1.0" {
		return fmt.Errorf("package %q: %w", l.Packages[0].Name, tools.ErrGone)
	}
	return nil
}

func (s *source) OpenPackage(p *lock.Package) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.files[p.SHA256])), nil
}

func (s *source) Resolve(context.Context, tools.Group) (*lock.Lock, error) {
	s.resolves++
	if s.today == nil {
		return nil, errors.New("archive: no answer")
	}
	return s.today, nil
}

// pin makes a package, adds it to the source and gives a lock of it.
func (s *source) pin(t *testing.T, p debtest.Package) *lock.Lock {
	t.Helper()
	file := debtest.Make(t, p)
	sum := sha256.Sum256(file)
	if s.files == nil {
		s.files = map[[32]byte][]byte{}
	}
	s.files[sum] = file
	version := p.Version
	if version == "" {
		version = "1.0"
	}
	return &lock.Lock{
		Format: lock.Format, Date: time.Unix(1700000000, 0).UTC(), Architecture: "amd64",
		Packages: []lock.Package{{
			Name: p.Name, Version: version, Architecture: "amd64", Archive: "debian",
			Path: "pool/x.deb", Size: int64(len(file)), SHA256: sum, Why: "test",
		}},
	}
}

// group is a tools group whose promises the package keeps.
const group = "run"

func sample(t *testing.T) debtest.Package {
	p := debtest.Package{Name: "sample", Files: []debtest.File{
		{Path: "usr/lib64/ld-linux-x86-64.so.2", Content: program(t, false), Mode: 0o755},
		{Path: "usr/lib/x86_64-linux-gnu/libc.so.6", Content: "lib"},
		{Path: "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so", Content: "lib"},
		{Path: "usr/lib/x86_64-linux-gnu/gconv/libJIS.so", Content: "lib"},
		{Path: "usr/lib/x86_64-linux-gnu/qemu/accel.so", Content: "lib"},
		{Path: "sbin/static", Content: program(t, false), Mode: 0o4755},
		{Path: "usr/bin/dynamic", Content: program(t, true), Mode: 0o755},
		{Path: "usr/bin/dash", Content: program(t, true), Mode: 0o755},
		{Path: "usr/bin/sh", Link: "dash"},
		{Path: "usr/bin/alias", Link: "/etc/alternatives/alias"},
		{Path: "etc/alternatives/alias", Link: "/usr/bin/dynamic"},
		{Path: "usr/bin/script", Content: "#! /bin/sh -e\nexit\n", Mode: 0o755},
		{Path: "usr/bin/envscript", Content: "#!/usr/bin/env sh\n", Mode: 0o755},
		{Path: "usr/bin/orphan", Content: "#!/usr/bin/perl\n", Mode: 0o755},
		{Path: "usr/bin/text", Content: "hello", Mode: 0o755},
		{Path: "usr/bin/same", Type: '1', Link: "usr/bin/dynamic"},
		{Path: "usr/share/doc/sample/copyright", Content: "c"},
		{Path: "dev/null", Type: '3', Major: 1, Minor: 3},
	}}
	g, ok := tools.LookupGroup(group)
	require.True(t, ok)
	for _, name := range g.Programs {
		p.Files = append(p.Files, debtest.File{Path: "usr/bin/" + name, Content: program(t, true), Mode: 0o755})
	}
	return p
}

func TestOpen(t *testing.T) {
	s := &source{}
	o := &tools.Options{CacheDir: t.TempDir(), Group: group, Lock: s.pin(t, sample(t)), Provider: s}
	tree, err := tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, tree.Fresh())
	assert.Equal(t, o.Lock.Packages, tree.Packages())

	again, err := tools.Open(t.Context(), &tools.Options{CacheDir: o.CacheDir, Group: group, Lock: o.Lock})
	require.NoError(t, err, "nothing is fetched")
	assert.Equal(t, tree, again)

	info, err := os.Stat(tree.Path("/usr/sbin/static"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode(), "no setuid")
	one, err := os.Stat(tree.Path("usr/bin/dynamic"))
	require.NoError(t, err)
	two, err := os.Stat(tree.Path("bin/same"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(one, two))
	assert.NoDirExists(t, tree.Path("usr/share/doc"))
	assert.NoFileExists(t, tree.Path("dev/null"))
	link, err := os.Readlink(tree.Path("usr/bin/alias"))
	require.NoError(t, err)
	assert.Equal(t, "../../etc/alternatives/alias", link)

	entries, err := os.ReadDir(filepath.Join(o.CacheDir, "tools"))
	require.NoError(t, err)
	assert.Len(t, entries, 2, "the tree and the lock file")
}

func TestCommand(t *testing.T) {
	s := &source{}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("LD_PRELOAD", "evil.so")
	tree, err := tools.Open(t.Context(), &tools.Options{
		CacheDir: t.TempDir(), Group: group, Lock: s.pin(t, sample(t)), Provider: s,
	})
	require.NoError(t, err)
	const lib = "T/usr/lib/x86_64-linux-gnu"
	const loader = "T/usr/lib64/ld-linux-x86-64.so.2 --inhibit-cache --library-path " + lib + ":" + lib + "/systemd --argv0 "
	for _, c := range []struct{ program, want, wantErr string }{
		{"static", "T/usr/sbin/static -x", ""},
		{"dynamic", loader + "T/usr/bin/dynamic T/usr/bin/dynamic -x", ""},
		{"usr/bin/dynamic", loader + "T/usr/bin/dynamic T/usr/bin/dynamic -x", ""},
		{"/bin/alias", loader + "T/bin/alias T/bin/alias -x", ""},
		{"script", loader + "T/usr/bin/sh T/usr/bin/sh -e T/usr/bin/script -x", ""},
		{"envscript", loader + "T/usr/bin/sh T/usr/bin/sh T/usr/bin/envscript -x", ""},
		{"orphan", "", `tools "run": interpreter of "usr/bin/orphan": no program "perl"`},
		{"nothing", "", `tools "run": no program "nothing"`},
		{"usr/bin/nothing", "", `tools "run": no program "usr/bin/nothing"`},
		{"text", "", `tools "run": "text" is not a program: begins with "hell"`},
	} {
		cmd := tree.Command(t.Context(), c.program, "-x")
		if c.wantErr != "" {
			assert.EqualError(t, cmd.Run(), c.wantErr, c.program)
			continue
		}
		require.NoError(t, cmd.Err, c.program)
		assert.Equal(t, c.want, strings.ReplaceAll(strings.Join(cmd.Args, " "), tree.Path(""), "T"))
		env := strings.ReplaceAll(strings.Join(cmd.Env, "\n"), tree.Path(""), "T")
		assert.Equal(t, "LC_ALL=C\nHOME=/\nPATH="+filepath.Dir(tree.Path(""))+"/path\nTMPDIR="+os.Getenv("TMPDIR")+
			"\nGCONV_PATH="+lib+"/gconv\nQEMU_MODULE_DIR="+lib+"/qemu", env)
	}
	wrapper, err := os.ReadFile(filepath.Join(tree.Path(""), "../path/static"))
	require.NoError(t, err)
	assert.Equal(t, "#!/bin/sh\ntree=${0%/path/*}\nexec ''\"$tree\"'/root/usr/sbin/static' \"$@\"\n", string(wrapper))
}

func TestGone(t *testing.T) {
	s := &source{gone: true}
	var warnings []string
	o := &tools.Options{
		CacheDir: t.TempDir(), Group: group, Lock: s.pin(t, sample(t)), Provider: s,
		Warn: func(line string) { warnings = append(warnings, line) }, Strict: true,
	}
	_, err := tools.Open(t.Context(), o)
	assert.EqualError(t, err, `tools "run": package "sample": no longer on the mirror`)
	assert.ErrorIs(t, err, tools.ErrGone)
	assert.Zero(t, s.resolves)

	o.Strict = false
	_, err = tools.Open(t.Context(), o)
	assert.EqualError(t, err, `tools "run": archive: no answer`)

	newer := sample(t)
	newer.Version = "1.1"
	s.today = s.pin(t, newer)
	tree, err := tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, tree.Fresh())
	assert.Equal(t, s.today.Packages, tree.Packages())
	const warning = `tools "run": package "sample": no longer on the mirror; taking today's packages instead of the pinned ones`
	assert.Equal(t, []string{warning, warning}, warnings)

	// What was found stays, but not for who is strict.
	fetches := s.fetches
	again, err := tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, tree.Digest(), again.Digest())
	assert.Equal(t, fetches, s.fetches)
	o.Strict = true
	_, err = tools.Open(t.Context(), o)
	assert.ErrorIs(t, err, tools.ErrGone)
	s.gone = false
	pinned, err := tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, pinned.Fresh())
	assert.NotEqual(t, tree.Digest(), pinned.Digest())
}

func TestOpenErrors(t *testing.T) {
	s := &source{}
	empty := s.pin(t, debtest.Package{Name: "empty"})
	for _, c := range []struct {
		name    string
		o       tools.Options
		wantErr string
	}{
		{"unknown group", tools.Options{Group: "play"}, `tools "play": no such group`},
		{"no provider", tools.Options{Group: group, Lock: empty},
			`tools "run": is not in the cache, and there is nothing to get it from`},
		{"promise broken", tools.Options{Group: group, Lock: empty, Provider: s},
			`tools "run": no program "qemu-img"`},
		{"damaged package", tools.Options{Group: group, Lock: empty, Provider: &source{}},
			`tools "run": package "empty": ar: file ends after 0 bytes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.CacheDir = t.TempDir()
			_, err := tools.Open(t.Context(), &c.o)
			assert.EqualError(t, err, c.wantErr)
			names, err := filepath.Glob(c.o.CacheDir + "/tools/*-*")
			require.NoError(t, err)
			assert.Empty(t, names, "nothing is left")
		})
	}
}

func TestOpenAtOnce(t *testing.T) {
	s := &source{}
	o := &tools.Options{CacheDir: t.TempDir(), Group: group, Lock: s.pin(t, sample(t)), Provider: s}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			_, err := tools.Open(t.Context(), o)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Equal(t, 1, s.fetches)
}

// TestKilled finds what a process left that was killed in the middle.
func TestKilled(t *testing.T) {
	s := &source{}
	o := &tools.Options{CacheDir: t.TempDir(), Group: group, Lock: s.pin(t, sample(t)), Provider: s}
	left := filepath.Join(o.CacheDir, "tools/.new-run-x/root")
	require.NoError(t, os.MkdirAll(left, 0o755))
	tree, err := tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.NoDirExists(t, left)

	// A tree that lost its manifest is made again.
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(tree.Path("")), "manifest.json")))
	require.NoError(t, os.Remove(tree.Path("usr/bin/dynamic")))
	tree, err = tools.Open(t.Context(), o)
	require.NoError(t, err)
	assert.FileExists(t, tree.Path("usr/bin/dynamic"))
}

func TestRelativeTarget(t *testing.T) {
	for _, c := range []struct{ path, target, want string }{
		{"a", "/b", "b"},
		{"usr/bin/a", "/b/../c", "../../c"},
		{"usr/bin/a", "/usr/bin/b", "../../usr/bin/b"},
		{"usr/bin/a", "b", "b"},
		{"usr/bin/a", "../../../b", "../../../b"},
	} {
		assert.Equal(t, c.want, tools.RelativeTarget(c.path, c.target), c)
	}
}

// TestPinned reads the locks that go with this version: each names the
// packages of its group.
func TestPinned(t *testing.T) {
	seen := map[string]string{}
	for _, g := range tools.Groups() {
		l, err := tools.Pinned(g.Name)
		require.NoError(t, err)
		for _, name := range g.Packages {
			assert.NotNil(t, l.Package(name), "%s: %s", g.Name, name)
		}
		for _, p := range g.Programs {
			assert.Equal(t, g.Name, tools.GroupOf(p))
			assert.Empty(t, seen[p], "%s is in two groups", p)
			seen[p] = g.Name
		}
	}
	_, err := tools.Pinned("play")
	assert.EqualError(t, err, "no packages are pinned: open locks/play.lock: file does not exist")
	assert.Empty(t, tools.GroupOf("rm"))
}
