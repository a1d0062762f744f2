package unpack_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
	"slipway/build/tree"
	"slipway/build/unpack"
)

func TestMerge(t *testing.T) {
	dir := func(p string, mode int64) debtest.File { return debtest.File{Path: p, Mode: mode} }
	file := func(p, content string) debtest.File { return debtest.File{Path: p, Content: content} }
	replaces := func(what string) map[string]string { return map[string]string{"Replaces": what} }
	for _, c := range []struct {
		name     string
		packages []debtest.Package
		want     string // paths below the root: path mode content
		wantErr  string
	}{
		{"disjoint", []debtest.Package{
			{Name: "a", Files: []debtest.File{dir("d/", 0), file("d/x", "1")}},
			{Name: "b", Files: []debtest.File{dir("d/", 0), file("d/y", "2")}},
		}, "d 755, d/x 644 1 (a), d/y 644 2 (b)", ""},
		{"directory of base-files", []debtest.Package{
			{Name: "a", Files: []debtest.File{dir("d/", 0o700)}},
			{Name: "base-files", Files: []debtest.File{dir("d/", 0o1777)}},
			{Name: "c", Files: []debtest.File{dir("d/", 0o711)}},
		}, "d 1777", ""},
		{"directory of the first", []debtest.Package{
			{Name: "b", Files: []debtest.File{dir("d/", 0o700)}},
			{Name: "c", Files: []debtest.File{dir("d/", 0o711)}},
		}, "d 700", ""},
		{"same content", []debtest.Package{
			{Name: "a", Files: []debtest.File{file("x", "1")}},
			{Name: "b", Files: []debtest.File{file("x", "1")}},
		}, "x 644 1 (a)", ""},
		{"other content", []debtest.Package{
			{Name: "a", Files: []debtest.File{file("x", "1"), file("y", "1")}},
			{Name: "b", Files: []debtest.File{file("x", "2"), file("y", "2")}},
		}, "", "package a and package b conflict on /x\npackage a and package b conflict on /y"},
		{"other mode", []debtest.Package{
			{Name: "a", Files: []debtest.File{{Path: "x", Mode: 0o600}}},
			{Name: "b", Files: []debtest.File{{Path: "x", Mode: 0o640}}},
		}, "", "package a and package b conflict on /x"},
		{"directory and file", []debtest.Package{
			{Name: "a", Files: []debtest.File{file("x", "")}, Fields: replaces("b")},
			{Name: "b", Files: []debtest.File{dir("x/", 0)}},
		}, "", "package a and package b conflict on /x"},
		{"replaces", []debtest.Package{
			{Name: "a", Files: []debtest.File{file("x", "1")}},
			{Name: "b", Files: []debtest.File{file("x", "2")}, Fields: replaces("c, a")},
		}, "x 644 2 (b)", ""},
		{"replaces old version", []debtest.Package{
			{Name: "a", Version: "1.9", Files: []debtest.File{file("x", "1")}},
			{Name: "b", Files: []debtest.File{file("x", "2")}, Fields: replaces("a:any (<< 1.10)")},
		}, "x 644 2 (b)", ""},
		{"replaces other version", []debtest.Package{
			{Name: "a", Version: "1.10", Files: []debtest.File{file("x", "1")}},
			{Name: "b", Files: []debtest.File{file("x", "2")}, Fields: replaces("a (<< 1.10)")},
		}, "", "package a and package b conflict on /x"},
		{"replace each other", []debtest.Package{
			{Name: "a", Files: []debtest.File{file("x", "1")}, Fields: replaces("b")},
			{Name: "b", Files: []debtest.File{file("x", "2")}, Fields: replaces("a")},
		}, "", "package a and package b conflict on /x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := openCache(t, t.TempDir())
			var packages []*unpack.Package
			for _, p := range c.packages {
				got, err := cache.Package(t.Context(), request(debtest.Make(t, p)))
				require.NoError(t, err)
				packages = append(packages, got)
			}
			permute(packages, func(packages []*unpack.Package) {
				dst := tree.New()
				err := unpack.Merge(dst, packages...)
				if c.wantErr != "" {
					assert.EqualError(t, err, c.wantErr)
					assert.Equal(t, 1, dst.Len(), "nothing is added on an error")
					return
				}
				require.NoError(t, err)
				assert.Equal(t, c.want, brief(t, dst))
			})
		})
	}
}

// permute calls f with every order.
func permute(p []*unpack.Package, f func([]*unpack.Package)) {
	var rest func(i int)
	rest = func(i int) {
		if i == len(p) {
			f(p)
			return
		}
		for j := i; j < len(p); j++ {
			p[i], p[j] = p[j], p[i]
			rest(i + 1)
			p[i], p[j] = p[j], p[i]
		}
	}
	rest(0)
}

// brief lists a tree in one line.
func brief(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(dump(t, tr)) {
		f := strings.Fields(line)
		if f[0] == "." {
			continue
		}
		s := f[0] + " " + strings.TrimLeft(f[2], "0")
		if f[1] == "file" {
			s += " " + strings.Trim(f[5], `"`) + " (" + strings.TrimPrefix(tr.Lookup(f[0]).Origin, "package ") + ")"
		}
		lines = append(lines, s)
	}
	return strings.Join(lines, ", ")
}

func TestMergeIntoTree(t *testing.T) {
	p, err := openCache(t, t.TempDir()).Package(t.Context(), request(debtest.Make(t, debtest.Package{
		Name: "a", Files: []debtest.File{{Path: "./"}, {Path: "d/"}, {Path: "d/x", Content: "1"}},
	})))
	require.NoError(t, err)
	dst := tree.New()
	require.NoError(t, dst.Set("d/x", &tree.Node{Type: tree.Symlink, Target: "y", Origin: "overlay base"}))
	assert.EqualError(t, unpack.Merge(dst, p), "overlay base and package a conflict on /d/x")
}
