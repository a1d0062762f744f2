// Package toolstest gives tests the foreign programs of package tools: the
// judges of our bytes, and QEMU. They are downloaded and unpacked once into
// the cache that slipway itself uses ($SLIPWAY_CACHE, else the user's).
//
// Tests that use it are skipped by -short and never otherwise: what cannot be
// had fails the test, with the remedy.
package toolstest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"slipway/build/archive"
	"slipway/build/lock"
	"slipway/build/tools"
	"slipway/build/tools/provision"
)

// patience is how long the tools may take to arrive: 90 MB over a slow line.
const patience = 15 * time.Minute

// Command prepares a program that some group of package tools names, such as
// "sgdisk". The program is killed when the test ends.
func Command(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	skipShort(t)
	group := tools.GroupOf(filepath.Base(program))
	if group == "" {
		t.Fatalf("no group of slipway/build/tools names %q: add it to groups.go", program)
	}
	cmd := Tree(t, group).Command(t.Context(), program, args...)
	if cmd.Err != nil {
		t.Fatal(cmd.Err)
	}
	return cmd
}

// Path gives the place on the host of a file of a group's tree, which must
// exist.
func Path(t testing.TB, group, rel string) string {
	t.Helper()
	path := Tree(t, group).Path(rel)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("tools %q: %v", group, err)
	}
	return path
}

// Tree gives the tools tree of a group, such as "build" or "judge".
func Tree(t testing.TB, group string) *tools.Tree {
	t.Helper()
	skipShort(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tree, err := provision.Open(ctx, group, options(t))
	if err != nil {
		t.Fatal(remedy(err))
	}
	return tree
}

// Deb opens the .deb file of a package that belongs to a group's tree: a real
// package for tests of what reads packages. It is closed with the test.
func Deb(t testing.TB, group, name string) *os.File {
	t.Helper()
	packages := Tree(t, group).Packages()
	i := slices.IndexFunc(packages, func(p lock.Package) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("tools %q: no package %q", group, name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := provision.Package(ctx, &packages[i], options(t))
	if err != nil {
		t.Fatal(remedy(err))
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func options(t testing.TB) *provision.Options {
	return &provision.Options{
		CacheDir: CacheDir(t), Workers: runtime.GOMAXPROCS(0),
		Keys: keys(t), Now: time.Now(), Warn: func(line string) { t.Log(line) },
	}
}

func remedy(err error) string {
	return fmt.Sprintf("%v\nhint: this test needs foreign programs from a Debian mirror: "+
		"export SLIPWAY_MIRROR=URL, or leave such tests out with -short", err)
}

// CacheDir is slipway's cache directory.
func CacheDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SLIPWAY_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("%v\nhint: export SLIPWAY_CACHE=DIR", err)
	}
	return filepath.Join(dir, "slipway")
}

func skipShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs foreign programs")
	}
}

// keys are those of the base overlay, wanted when a pinned tool is gone from
// the mirror.
func keys(t testing.TB) *archive.Keys {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("internal error: no source file name")
	}
	pattern := filepath.Join(filepath.Dir(file), "../../../overlays/base/keys/*.asc")
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		return nil // the host's keyring has to do
	}
	keys := new(archive.Keys)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := keys.Read(name, f); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}
