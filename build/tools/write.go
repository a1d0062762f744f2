package tools

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"slipway/build/tree"
	"slipway/build/unpack"
)

// libDir is Debian's directory of shared libraries.
const libDir = "usr/lib/x86_64-linux-gnu"

// write puts the packages on the host's file system, owned by whoever runs
// this, without setuid bits, devices and what nobody runs.
func write(ctx context.Context, root string, packages []*unpack.Package) error {
	merged := tree.New()
	if err := unpack.Merge(merged, packages...); err != nil {
		return err
	}
	first := map[*tree.Node]string{}
	for p, n := range merged.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if unwanted(p) {
			continue
		}
		if err := writeNode(root, p, n, first); err != nil {
			return err
		}
	}
	// The links of the merged /usr, which programs may go through.
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		err := os.Symlink("usr/"+name, filepath.Join(root, name))
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

func writeNode(root, p string, n *tree.Node, first map[*tree.Node]string) error {
	host := filepath.Join(root, p)
	switch n.Type {
	case tree.Dir:
		return os.MkdirAll(host, 0o755)
	case tree.Symlink:
		return os.Symlink(relativeTarget(p, n.Target), host)
	case tree.File:
		if other, ok := first[n]; ok {
			return os.Link(other, host)
		}
		first[n] = host
		return writeFile(host, n)
	}
	return nil
}

func writeFile(host string, n *tree.Node) (err error) {
	f, err := os.OpenFile(host, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(0o644|n.Mode&0o111))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	r, err := n.Blob.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(f, r)
	return err
}

// relativeTarget makes an absolute symlink point into the tree.
func relativeTarget(p, target string) string {
	if !strings.HasPrefix(target, "/") {
		return target
	}
	up := strings.Repeat("../", strings.Count(p, "/"))
	return path.Clean(up + strings.TrimLeft(target, "/"))
}

// unwanted are files that no program reads.
func unwanted(p string) bool {
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// libraryDirs lists the directories of shared libraries below root: the usual
// one, and those in it that programs find through an absolute run path, which
// on the host would lead elsewhere.
func libraryDirs(root string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(root, libDir, "*", "lib*.so*"))
	if err != nil {
		return nil, err
	}
	dirs := []string{libDir}
	for _, name := range names {
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return nil, err
		}
		if base := path.Base(rel); base != "gconv" && !slices.Contains(dirs, rel) {
			dirs = append(dirs, rel)
		}
	}
	return dirs, nil
}

// writeWrappers makes a directory for $PATH: programs that start other
// programs by name get those of the tree, through its loader. The wrappers
// find the tree by their own path, so it may be moved.
func (t *Tree) writeWrappers() error {
	if err := os.Mkdir(t.wrappers(), 0o755); err != nil {
		return err
	}
	for _, dir := range programDirs() {
		entries, err := os.ReadDir(t.Path(dir))
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return err
		}
		for _, e := range entries {
			wrapper := filepath.Join(t.wrappers(), e.Name())
			if found, err := exists(wrapper); found || err != nil {
				continue // as in $PATH, the first directory counts
			}
			argv, err := t.argv(path.Join(dir, e.Name()))
			if err != nil {
				continue // a link to nowhere, or data: not a program
			}
			if err := os.WriteFile(wrapper, []byte(t.wrapper(argv)), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Tree) wrapper(argv []string) string {
	words := strings.ReplaceAll(quote(argv), t.dir, `'"$tree"'`)
	return "#!/bin/sh\ntree=${0%/path/*}\nexec " + words + ` "$@"` + "\n"
}

func (t *Tree) wrappers() string { return filepath.Join(t.dir, "path") }

// quote writes words for the shell.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("'%s'", strings.ReplaceAll(w, "'", `'\''`))
	}
	return strings.Join(quoted, " ")
}
