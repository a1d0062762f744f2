// Package tree holds a root file system as a value: every path with its owner,
// mode, extended attributes and links, and the content of regular files by
// reference. Nothing of it ever has to exist on the host's file system, so a
// tree can hold device nodes, foreign owners and setuid programs without
// privileges.
//
// It does not read packages or write images; it is what those exchange.
package tree

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
)

// Type says what kind of file a node is.
type Type uint8

// The kinds of file a root file system can hold, except sockets.
const (
	Dir Type = iota
	File
	Symlink
	Char
	Block
	Fifo
)

// String gives the word used in messages and listings.
func (t Type) String() string {
	names := [...]string{"directory", "file", "symlink", "char device", "block device", "fifo"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Blob is the content of a regular file: immutable bytes known by their digest.
// Open may be called any number of times, from several goroutines; the caller
// closes what it returns. A reader that also implements io.ReaderAt or
// io.WriterTo is used as such.
type Blob interface {
	Size() int64
	SHA256() [32]byte
	Open() (io.ReadCloser, error)
}

// Node is one inode. Two paths that share a *Node are hard links.
type Node struct {
	Type   Type
	Mode   uint32 // permission bits with setuid, setgid and sticky: 07777
	UID    uint32
	GID    uint32
	MTime  int64             // seconds since 1970
	Target string            // of a symlink, as stored
	Xattrs map[string]string // full name, such as "security.capability"
	Major  uint32            // of a device
	Minor  uint32
	Blob   Blob   // of a regular file
	Origin string // who put it there: "package bash", "overlay base"
}

// Size is the number of content bytes of a regular file, else 0.
func (n *Node) Size() int64 {
	if n.Type == File && n.Blob != nil {
		return n.Blob.Size()
	}
	return 0
}

// Tree maps clean, slash-separated paths without a leading slash ("usr/bin/ls")
// to nodes. The root directory itself is "." . The zero value is not usable;
// call New. A Tree is not safe for concurrent change.
type Tree struct {
	nodes map[string]*Node
}

// New returns a tree that holds only the root directory, owned by root.
func New() *Tree {
	return &Tree{nodes: map[string]*Node{".": {Type: Dir, Mode: 0o755}}}
}

// Clean turns a path as people and archives write it ("/usr/bin/", "./usr")
// into a key of a Tree. A path that would leave the root is an error.
func Clean(p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q: holds a NUL byte", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q: leaves the root", p)
		}
	}
	return path.Clean(strings.TrimLeft(p, "/")), nil
}

// Lookup returns the node at the path, nil if there is none. It follows no
// symlinks.
func (t *Tree) Lookup(p string) *Node { return t.nodes[p] }

// Len is the number of paths, the root included.
func (t *Tree) Len() int { return len(t.nodes) }

// Set puts the node at a clean path and makes missing parents as directories
// 0755 root:root that carry the node's origin and time. It replaces what was
// there. A parent that is not a directory is an error.
func (t *Tree) Set(p string, n *Node) error {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		parent := t.nodes[dir]
		if parent == nil {
			t.nodes[dir] = &Node{Type: Dir, Mode: 0o755, MTime: n.MTime, Origin: n.Origin}
			continue
		}
		if parent.Type != Dir {
			return fmt.Errorf("path /%s: /%s is a %s of %s, not a directory",
				p, dir, parent.Type, parent.Origin)
		}
		break
	}
	t.nodes[p] = n
	return nil
}

// Remove deletes a path and everything below it and says how many paths went.
func (t *Tree) Remove(p string) int {
	gone := 0
	if n := t.nodes[p]; n == nil {
		return 0
	} else if n.Type == Dir {
		below := p + "/"
		for q := range t.nodes {
			if strings.HasPrefix(q, below) {
				delete(t.nodes, q)
				gone++
			}
		}
	}
	if p != "." {
		delete(t.nodes, p)
		gone++
	}
	return gone
}

// Paths returns every path in byte order, the root first; parents come before
// their children.
func (t *Tree) Paths() []string {
	paths := slices.Collect(maps.Keys(t.nodes))
	slices.SortFunc(paths, func(a, b string) int {
		switch {
		case a == ".":
			return -1
		case b == ".":
			return 1
		}
		return strings.Compare(a, b)
	})
	return paths
}

// All walks the tree in the order of Paths.
func (t *Tree) All() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		for _, p := range t.Paths() {
			if !yield(p, t.nodes[p]) {
				return
			}
		}
	}
}

// Sub returns a new tree of what lies below dir, with dir as its root. Nodes
// are shared with t.
func (t *Tree) Sub(dir string) *Tree {
	sub := New()
	if root := t.nodes[dir]; root != nil {
		sub.nodes["."] = root
	}
	for p, n := range t.nodes {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
			sub.nodes[rest] = n
		}
	}
	return sub
}
