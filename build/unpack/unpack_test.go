package unpack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
	"slipway/build/tree"
	"slipway/build/unpack"
)

// request asks for a package in memory.
func request(file []byte) unpack.Request {
	return unpack.Request{
		SHA256: sha256.Sum256(file), Size: int64(len(file)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil },
	}
}

// cached asks for a package that must be in the cache.
func cached(t *testing.T, file []byte) unpack.Request {
	q := request(file)
	q.Open = func() (io.ReadCloser, error) {
		t.Error("the package was unpacked again")
		return nil, errors.New("not to be opened")
	}
	return q
}

func openCache(t *testing.T, dir string) *unpack.Cache {
	t.Helper()
	c, err := unpack.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// dump writes a tree as text, one line per path.
func dump(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	first := map[*tree.Node]string{}
	for p, n := range tr.All() {
		if other := first[n]; other != "" {
			fmt.Fprintf(&b, "%s = %s\n", p, other)
			continue
		}
		fmt.Fprintf(&b, "%s %s %04o %d:%d @%d", p, n.Type, n.Mode, n.UID, n.GID, n.MTime%1000)
		switch n.Type {
		case tree.File:
			first[n] = p
			content, err := tree.ReadAll(n.Blob)
			require.NoError(t, err)
			assert.Equal(t, sha256.Sum256(content), n.Blob.SHA256(), p)
			fmt.Fprintf(&b, " %q", content)
		case tree.Symlink:
			fmt.Fprintf(&b, " -> %s", n.Target)
		case tree.Char, tree.Block:
			fmt.Fprintf(&b, " %d,%d", n.Major, n.Minor)
		}
		for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", name, n.Xattrs[name])
		}
		b.WriteString("\n")
	}
	return b.String()
}

const module = "\x7fELF pretend module"

func sample(t *testing.T) []byte {
	return debtest.Make(t, debtest.Package{
		Name: "sample", Version: "1:2.0-3",
		Fields:  map[string]string{"Depends": "libc6"},
		Control: map[string]string{"postinst": "#!/bin/sh\n", "md5sums": "x", "conffiles": "/etc/sample\n"},
		Files: []debtest.File{
			{Path: "./", Mode: 0o755},
			{Path: "bin/"},
			{Path: "bin/sample", Content: "hello", Mode: 0o4755},
			{Path: "bin/same", Link: "./bin/sample", Type: '1'},
			{Path: "usr/bin/"},
			{Path: "usr/bin/alias", Link: "sample"},
			{Path: "etc/sample", Content: ""},
			{Path: "usr/bin/ping", Content: strings.Repeat("p", 5000), Mode: 0o755,
				Xattrs: map[string]string{"security.capability": "\x01\x00", "user.x": "y"}},
			{Path: "lib/modules/6.1/a.ko.xz", Content: string(debtest.Compress(t, ".xz", []byte(module)))},
			{Path: "lib/modules/6.1/b.ko.zst", Content: string(debtest.Compress(t, ".zst", []byte(module+"b")))},
			{Path: "lib/modules/6.1/c.ko.xz", Link: "lib/modules/6.1/a.ko.xz", Type: '1'},
			{Path: "lib/modules/6.1/a.conf.xz", Content: "kept"},
			{Path: "var/lib/sample/", Mode: 0o2775, UID: 70000, GID: 42},
			{Path: "dev/null", Type: '3', Major: 1, Minor: 3, Mode: 0o666},
			{Path: "run/pipe", Type: '6', Mode: 0o600},
		},
	})
}

var sampleDump = `. directory 0755 0:0 @0
dev directory 0755 0:0 @0
dev/null char device 0666 0:0 @0 1,3
etc directory 0755 0:0 @0
etc/sample file 0644 0:0 @0 ""
run directory 0755 0:0 @0
run/pipe fifo 0600 0:0 @0
usr directory 0755 0:0 @0
usr/bin directory 0755 0:0 @0
usr/bin/alias symlink 0777 0:0 @0 -> sample
usr/bin/ping file 0755 0:0 @0 "` + strings.Repeat("p", 5000) + `" security.capability="\x01\x00" user.x="y"
usr/bin/same file 4755 0:0 @0 "hello"
usr/bin/sample = usr/bin/same
usr/lib directory 0755 0:0 @0
usr/lib/modules directory 0755 0:0 @0
usr/lib/modules/6.1 directory 0755 0:0 @0
usr/lib/modules/6.1/a.conf.xz file 0644 0:0 @0 "kept"
usr/lib/modules/6.1/a.ko file 0644 0:0 @0 "\x7fELF pretend module"
usr/lib/modules/6.1/b.ko file 0644 0:0 @0 "\x7fELF pretend moduleb"
usr/lib/modules/6.1/c.ko = usr/lib/modules/6.1/a.ko
var directory 0755 0:0 @0
var/lib directory 0755 0:0 @0
var/lib/sample directory 2775 70000:42 @0
`

func TestPackage(t *testing.T) {
	dir, file := t.TempDir(), sample(t)
	for _, round := range []string{"unpacked", "cached"} {
		t.Run(round, func(t *testing.T) {
			c, q := openCache(t, dir), request(file)
			if round == "cached" {
				q = cached(t, file)
			}
			p, err := c.Package(t.Context(), q)
			require.NoError(t, err)
			assert.Equal(t, "sample", p.Name)
			assert.Equal(t, "1:2.0-3", p.Version)
			assert.Equal(t, "amd64", p.Architecture)
			assert.Equal(t, "libc6", p.Fields["Depends"])
			assert.Equal(t, map[string][32]byte{"postinst": sha256.Sum256([]byte("#!/bin/sh\n"))}, p.Scripts)
			assert.Equal(t, []string{"conffiles", "postinst"}, slices.Sorted(maps.Keys(p.Control)))
			content, err := tree.ReadAll(p.Control["conffiles"])
			require.NoError(t, err)
			assert.Equal(t, "/etc/sample\n", string(content))
			assert.Equal(t, sampleDump, dump(t, p.Tree))
			for path, n := range p.Tree.All() {
				assert.Equal(t, "package sample", n.Origin, path)
			}
		})
	}
	assert.NoError(t, openCache(t, dir).Verify(sha256.Sum256(file)))
}

// TestDamage spoils a cache entry in each way that can be seen cheaply; the
// package must come back whole.
func TestDamage(t *testing.T) {
	file := sample(t)
	name := fmt.Sprintf("%x", sha256.Sum256(file))
	overwrite := func(offset int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "tree"), os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			_, err = f.WriteAt([]byte{0xee}, offset)
			require.NoError(t, err)
		}
	}
	for damage, do := range map[string]func(t *testing.T, dir string){
		"no tree":       func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/tree")) },
		"no data":       func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/data")) },
		"empty tree":    func(t *testing.T, dir string) { require.NoError(t, os.Truncate(dir+"/tree", 0)) },
		"short tree":    func(t *testing.T, dir string) { require.NoError(t, os.Truncate(dir+"/tree", 100)) },
		"short data":    func(t *testing.T, dir string) { require.NoError(t, os.Truncate(dir+"/data", 100)) },
		"magic":         overwrite(0),
		"version":       overwrite(8),
		"body":          overwrite(200),
		"body's digest": overwrite(40),
	} {
		t.Run(damage, func(t *testing.T) {
			dir := t.TempDir()
			_, err := openCache(t, dir).Package(t.Context(), request(file))
			require.NoError(t, err)
			do(t, filepath.Join(dir, name))

			p, err := openCache(t, dir).Package(t.Context(), request(file))
			require.NoError(t, err)
			assert.Equal(t, sampleDump, dump(t, p.Tree))
			_, err = openCache(t, dir).Package(t.Context(), cached(t, file))
			assert.NoError(t, err)
			assertOnly(t, dir, name)
		})
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	dir, file := t.TempDir(), sample(t)
	sum := sha256.Sum256(file)
	c := openCache(t, dir)
	_, err := c.Package(t.Context(), request(file))
	require.NoError(t, err)
	data := filepath.Join(dir, fmt.Sprintf("%x", sum), "data")
	content, err := os.ReadFile(data)
	require.NoError(t, err)
	i := bytes.Index(content, []byte("hello"))
	require.NotEqual(t, -1, i)
	assert.Zero(t, i%4096, "contents are aligned")
	content[i] = 'j'
	require.NoError(t, os.WriteFile(data, content, 0o644))
	assert.EqualError(t, c.Verify(sum), fmt.Sprintf(
		`package "sample": /usr/bin/same in the cache has SHA-256 %x, not %x`,
		sha256.Sum256([]byte("jello")), sha256.Sum256([]byte("hello"))))

	require.NoError(t, c.Remove(sum))
	assert.NoError(t, c.Verify(sum), "what is not there is not damaged")
}

func TestBadPackages(t *testing.T) {
	file := sample(t)
	one := func(files ...debtest.File) []byte {
		return debtest.Make(t, debtest.Package{Name: "bad", Files: files, Compression: "none"})
	}
	for _, c := range []struct {
		name    string
		q       unpack.Request
		wantErr string
	}{
		{"truncated", request(file[:len(file)-200]), "data.tar.xz: file is truncated: unexpected EOF"},
		{"other bytes", unpack.Request{SHA256: [32]byte{1}, Open: request(file).Open},
			fmt.Sprintf("file has SHA-256 %x, not 01%062d", sha256.Sum256(file), 0)},
		{"other package", unpack.Request{Name: "bash", SHA256: sha256.Sum256(file), Open: request(file).Open},
			`file is of package "sample"`},
		{"file twice", request(one(debtest.File{Path: "a"}, debtest.File{Path: "a"})),
			"path /a: is in the package twice"},
		{"file in both bins", request(one(debtest.File{Path: "bin/a"}, debtest.File{Path: "usr/bin/a"})),
			"path /usr/bin/a: is in the package twice"},
		{"module twice", request(one(debtest.File{Path: "lib/modules/a.ko"},
			debtest.File{Path: "lib/modules/a.ko.xz", Content: string(debtest.Compress(t, ".xz", nil))})),
			"path /usr/lib/modules/a.ko: is in the package twice"},
		{"module is junk", request(one(debtest.File{Path: "lib/modules/a.ko.xz", Content: "junk and more junk"})),
			"path /lib/modules/a.ko.xz: xz: not in xz format"},
		{"hard link to nothing", request(one(debtest.File{Path: "a", Type: '1', Link: "b"})),
			"path /a: hard link to /b, which is no earlier file"},
		{"hard link to a directory", request(one(debtest.File{Path: "b/"}, debtest.File{Path: "a", Type: '1', Link: "b"})),
			"path /a: hard link to /b, which is no earlier file"},
		{"bin elsewhere", request(one(debtest.File{Path: "bin", Link: "/tmp"})),
			`path /bin: symlink to "/tmp", not "usr/bin"`},
		{"bin is a file", request(one(debtest.File{Path: "bin"})),
			"path /bin: must be a directory or a symlink into /usr"},
		{"below a file", request(one(debtest.File{Path: "a"}, debtest.File{Path: "a/b"})),
			"path /a/b: /a is a file of package bad, not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := openCache(t, dir).Package(t.Context(), c.q)
			require.Error(t, err)
			_, text, _ := strings.Cut(err.Error(), ": ")
			assert.Equal(t, c.wantErr, text)
			if c.name != "other package" {
				assertOnly(t, dir)
			}
		})
	}
}

// assertOnly checks the names in a directory.
func assertOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	assert.Equal(t, want, got)
}

func TestMergedRootLinks(t *testing.T) {
	file := debtest.Make(t, debtest.Package{Name: "base-files", Files: []debtest.File{
		{Path: "./"}, {Path: "bin", Link: "usr/bin"}, {Path: "usr/bin/"}, {Path: "bin/x", Content: "x"},
	}})
	// A package that has both the link and a file behind it contradicts itself.
	_, err := openCache(t, t.TempDir()).Package(t.Context(), request(file))
	assert.ErrorContains(t, err, "/bin is a symlink of the same package")

	file = debtest.Make(t, debtest.Package{Name: "base-files", Files: []debtest.File{
		{Path: "./"}, {Path: "bin", Link: "usr/bin"}, {Path: "lib64", Link: "/usr/lib64"},
	}})
	p, err := openCache(t, t.TempDir()).Package(t.Context(), request(file))
	require.NoError(t, err)
	assert.Equal(t, "usr/bin", p.Tree.Lookup("bin").Target)
	assert.Equal(t, "/usr/lib64", p.Tree.Lookup("lib64").Target)
}

func TestAll(t *testing.T) {
	var requests []unpack.Request
	for i := range 20 {
		requests = append(requests, request(debtest.Make(t, debtest.Package{
			Name:  fmt.Sprintf("p%02d", i),
			Files: []debtest.File{{Path: fmt.Sprintf("f%02d", i), Content: strings.Repeat("x", i)}},
		})))
	}
	var done []string
	packages, err := openCache(t, t.TempDir()).All(t.Context(), requests,
		&unpack.AllOptions{Workers: 4, Done: func(name string) { done = append(done, name) }})
	require.NoError(t, err)
	assert.Len(t, done, 20)
	for i, p := range packages {
		assert.Equal(t, fmt.Sprintf("p%02d", i), p.Name)
	}

	requests[7].Open = func() (io.ReadCloser, error) { return nil, errors.New("no such file") }
	requests[7].Name = "p07"
	_, err = openCache(t, t.TempDir()).All(t.Context(), requests, nil)
	assert.EqualError(t, err, `package "p07": no such file`)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, err = openCache(t, dir).All(ctx, requests, nil)
	assert.ErrorIs(t, err, context.Canceled)
	assertOnly(t, dir)
}

// TestManyAtOnce lets several caches make one entry at the same time.
func TestManyAtOnce(t *testing.T) {
	dir, file := t.TempDir(), sample(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := unpack.Open(dir)
			if assert.NoError(t, err) {
				defer c.Close()
				p, err := c.Package(t.Context(), request(file))
				if assert.NoError(t, err) {
					assert.Equal(t, 23, p.Tree.Len())
				}
			}
		})
	}
	wg.Wait()
	assertOnly(t, dir, fmt.Sprintf("%x", sha256.Sum256(file)))
}

// interrupted is a stream during which something happens.
type interrupted struct {
	io.Reader
	do func() error
}

func (r *interrupted) Read(p []byte) (int, error) {
	if err := r.do(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p[:min(len(p), 64)])
}

func TestInterrupted(t *testing.T) {
	dir, file := t.TempDir(), sample(t)
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	q := request(file)
	q.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(&interrupted{bytes.NewReader(file), func() error {
			if reads++; reads == 10 {
				cancel()
			}
			return nil
		}}), nil
	}
	_, err := openCache(t, dir).Package(ctx, q)
	assert.ErrorIs(t, err, context.Canceled)
	assertOnly(t, dir)
}

func TestSweep(t *testing.T) {
	dir, file := t.TempDir(), sample(t)
	c := openCache(t, dir)
	require.NoError(t, os.Mkdir(dir+"/.new-dead", 0o755))
	require.NoError(t, os.WriteFile(dir+"/.new-dead/data", nil, 0o644))
	swept := false
	q := request(file)
	q.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(&interrupted{bytes.NewReader(file), func() error {
			swept = true
			return c.Sweep()
		}}), nil
	}
	require.DirExists(t, dir+"/.new-dead")
	_, err := c.Package(t.Context(), q)
	require.NoError(t, err, "sweeping leaves alone what is being written")
	assert.True(t, swept)
	assertOnly(t, dir, fmt.Sprintf("%x", sha256.Sum256(file)))
}

// TestDiskFull runs into the limit on the size of files, which to the writer
// looks as a full disk does.
func TestDiskFull(t *testing.T) {
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	dir, file := t.TempDir(), sample(t)
	c := openCache(t, dir)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8192, Max: old.Max}))
	_, err := c.Package(t.Context(), request(file))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	assert.ErrorIs(t, err, syscall.EFBIG)
	assertOnly(t, dir)
	_, err = c.Package(t.Context(), request(file))
	assert.NoError(t, err)
}

func TestCopyToFile(t *testing.T) {
	p, err := openCache(t, t.TempDir()).Package(t.Context(), request(sample(t)))
	require.NoError(t, err)
	blob := p.Tree.Lookup("usr/bin/ping").Blob
	var _ unpack.Section = blob.(unpack.Section)
	for _, skip := range []int64{0, 3, 5000} {
		r, err := blob.Open()
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, r, skip)
		require.NoError(t, err)
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		require.NoError(t, err)
		n, err := io.Copy(f, r)
		require.NoError(t, err)
		assert.Equal(t, 5000-skip, n)
		content, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("p", int(5000-skip)), string(content))
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Empty(t, rest)
		require.NoError(t, f.Close())
		require.NoError(t, r.Close())
	}
}
