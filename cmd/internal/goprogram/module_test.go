package goprogram_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/hint"
)

// proxy serves one module, example.org/said v1.2.3, from a directory: a
// program that prints a variable. It is where go looks from now on.
func proxy(t *testing.T, word string) {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "example.org/said/@v")
	require.NoError(t, os.MkdirAll(at, 0o755))
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	mod := "module example.org/said\n\ngo 1.24\n"
	for name, text := range map[string]string{
		"go.mod":          mod,
		"cmd/say/main.go": "package main\n\nvar Word = \"nothing\"\n\nfunc main() { println(\"" + word + "\", Word) }\n",
	} {
		f, err := w.Create("example.org/said@v1.2.3/" + name)
		require.NoError(t, err)
		_, err = f.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	for name, data := range map[string][]byte{
		"v1.2.3.info": []byte(`{"Version":"v1.2.3"}`), "v1.2.3.mod": []byte(mod), "v1.2.3.zip": archive.Bytes(),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(at, name), data, 0o644))
	}
	t.Setenv("GOPROXY", "file://"+dir)
	modules := t.TempDir()
	t.Setenv("GOMODCACHE", modules)
	t.Cleanup(func() { // go writes modules read-only
		filepath.WalkDir(modules, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(p, 0o755)
			}
			return err
		})
	})
	t.Setenv("GONOSUMDB", "example.org")
}

// said is a module that requires the program of proxy, and pins it.
func said(t *testing.T) *goprogram.Module {
	t.Helper()
	dir := t.TempDir()
	mod := "module own\n\ngo 1.24\n\ntoolchain " + runtime.Version() +
		"\n\ntool example.org/said/cmd/say\n\nrequire example.org/said v1.2.3\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644))
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "example.org/said")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return &goprogram.Module{
		Name: "overlay own: usr/bin/say", Place: "own/say", Package: "example.org/said/cmd/say",
		Files: os.DirFS(dir), Variables: map[string]string{"main.Word": "a word"},
	}
}

func TestModule(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	proxy(t, "hello")
	m, cache := said(t), t.TempDir()
	version, err := m.Version()
	require.NoError(t, err)
	assert.Equal(t, "v1.2.3", version)
	name, err := m.Build(t.Context(), cache)
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), name).CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "hello a word\n", string(out))

	// Kept: neither go nor the modules are needed again.
	t.Setenv("PATH", t.TempDir())
	again, err := m.Build(t.Context(), cache)
	require.NoError(t, err)
	assert.Equal(t, name, again)

	// Whatever reaches the bytes makes another program of it.
	before, err := m.Sources()
	require.NoError(t, err)
	for what, change := range map[string]func(m *goprogram.Module){
		"variable": func(m *goprogram.Module) { m.Variables = map[string]string{"main.Word": "other"} },
		"package":  func(m *goprogram.Module) { m.Package += "/x" },
		"file": func(m *goprogram.Module) {
			mod, err := fs.ReadFile(m.Files, "go.mod")
			require.NoError(t, err)
			m.Files = fstest.MapFS{"go.mod": {Data: mod}, "x.go": {Data: []byte("package x\n")}}
		},
	} {
		other := *m
		change(&other)
		after, err := other.Sources()
		require.NoError(t, err)
		assert.NotEqual(t, before, after, what)
		_, err = other.Build(t.Context(), cache)
		assert.ErrorContains(t, err, "overlay own: usr/bin/say: compile "+other.Package+": no go in $PATH", what)
	}
}

// The same module gives the same bytes, wherever it lies.
func TestModuleIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	proxy(t, "hello")
	var first []byte
	for range 2 {
		name, err := said(t).Build(t.Context(), t.TempDir())
		require.NoError(t, err)
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		if first == nil {
			first = data
		}
		assert.True(t, bytes.Equal(first, data), "other bytes")
	}
}

func TestModuleOfItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	m := &goprogram.Module{
		Name: "overlay own: usr/bin/own", Place: "own/own", Package: "own/cmd/own", Toolchain: runtime.Version(),
		Files: fstest.MapFS{
			"go.mod":          {Data: []byte("module own\n\ngo 1.24\n")},
			"go.sum":          {},
			"cmd/own/main.go": {Data: []byte("package main\n\nfunc main() {}\n")},
		},
	}
	version, err := m.Version()
	require.NoError(t, err)
	assert.Empty(t, version)
	_, err = m.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
}

// What does not compile ends in one line, with what helps, and leaves nothing.
func TestModuleRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	for name, c := range map[string]struct {
		change     func(t *testing.T, files fstest.MapFS)
		want, hint string
	}{
		"not pinned": {
			func(_ *testing.T, files fstest.MapFS) { files["go.sum"] = &fstest.MapFile{} },
			"missing go.sum entry", "cd own/say && go mod tidy",
		},
		"other bytes": {
			func(t *testing.T, _ fstest.MapFS) { proxy(t, "other") },
			"checksum mismatch", "other bytes than own/say/go.sum pins",
		},
		"no network": {
			func(t *testing.T, _ fstest.MapFS) {
				t.Setenv("GOMODCACHE", t.TempDir())
				t.Setenv("GOPROXY", "off")
			},
			"module lookup disabled by GOPROXY=off", "compiled once, it needs no network",
		},
		"no such package": {
			func(_ *testing.T, files fstest.MapFS) {
				files["go.mod"].Data = []byte("module own\n\ngo 1.24\n")
			},
			"no required module provides package example.org/said/cmd/say", "go mod tidy",
		},
		"not Go": {
			func(_ *testing.T, files fstest.MapFS) { files["go.mod"].Data = []byte("what\n") },
			"go.mod:1: unknown directive: what", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy(t, "hello")
			m := said(t)
			files := fstest.MapFS{}
			for _, name := range []string{"go.mod", "go.sum"} {
				data, err := fs.ReadFile(m.Files, name)
				require.NoError(t, err)
				files[name] = &fstest.MapFile{Data: data}
			}
			c.change(t, files)
			m.Files, m.Toolchain = files, runtime.Version()
			cache := t.TempDir()
			_, err := m.Build(t.Context(), cache)
			require.ErrorContains(t, err, "overlay own: usr/bin/say: compile example.org/said/cmd/say: ")
			assert.ErrorContains(t, err, c.want)
			assert.NotRegexp(t, `\n|:$`, err.Error())
			assert.Contains(t, hint.Of(err), c.hint)
			kept, err := os.ReadDir(filepath.Join(cache, "programs"))
			require.NoError(t, err)
			assert.Len(t, kept, 1, "left over besides the lock")
		})
	}
}

func TestModuleIsBounded(t *testing.T) {
	files := fstest.MapFS{"go.mod": {}, "big": {Data: make([]byte, 65<<20)}}
	_, err := (&goprogram.Module{Name: "x", Files: files}).Sources()
	assert.EqualError(t, err, "x: module is larger than 67108864 bytes in 10000 files")

	files = fstest.MapFS{"go.mod": {}}
	for i := range 10_000 {
		files[fmt.Sprintf("f%d", i)] = &fstest.MapFile{}
	}
	_, err = (&goprogram.Module{Name: "x", Files: files}).Sources()
	assert.EqualError(t, err, "x: module is larger than 67108864 bytes in 10000 files")

	_, err = (&goprogram.Module{Name: "x", Files: fstest.MapFS{}}).Version()
	assert.ErrorContains(t, err, "x: open go.mod")

	files = fstest.MapFS{"go.mod": {Data: []byte(strings.Repeat("what\n", 3))}}
	_, err = (&goprogram.Module{Name: "x", Place: "own/x", Files: files}).Version()
	assert.EqualError(t, err, "x: own/x/go.mod:1: unknown directive: what")
}
