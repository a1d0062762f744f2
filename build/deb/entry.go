package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"slipway/build/tree"
)

// Entry is one path of a package.
type Entry struct {
	Path string     // clean, without leading slash; "." is the root
	Node *tree.Node // without Blob and Origin; nil for a hard link
	Size int64      // bytes of content to read, of a regular file
	Link string     // hard link: the clean path of an earlier regular file
}

// Next goes to the next path, and at the end of the package returns io.EOF,
// after the whole file has been read and its checksums compared. What was not
// read of the previous entry is skipped.
func (d *Reader) Next() (*Entry, error) {
	if d.err != nil {
		return nil, d.err
	}
	e, err := d.next()
	if err != nil {
		d.err = err
	}
	return e, err
}

func (d *Reader) next() (*Entry, error) {
	h, err := d.tar.Next()
	if err == io.EOF {
		return nil, d.finish()
	}
	if err != nil {
		return nil, d.dataError(err)
	}
	if d.entries++; d.entries > MaxEntries {
		return nil, fmt.Errorf("%s: more than %d paths", d.member, MaxEntries)
	}
	e, err := d.entry(h)
	if err != nil {
		return nil, fmt.Errorf("%s: path %q: %w", d.member, shorten(h.Name), err)
	}
	d.left = e.Size
	return e, nil
}

// Read reads the content of the current entry.
func (d *Reader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.tar.Read(p)
	d.left -= int64(n)
	if err != nil && (err != io.EOF || d.left > 0) {
		d.err = d.dataError(err)
		return n, d.err
	}
	return n, err
}

func (d *Reader) dataError(err error) error {
	if d.limit.N == 0 {
		return fmt.Errorf("%s: more than %d bytes", d.member, int64(MaxDataSize))
	}
	return fmt.Errorf("%s: %w", d.member, streamError(err))
}

// finish reads to the end, so that the decompressor compares its checksums and
// a caller that hashes the stream has seen all of it.
func (d *Reader) finish() error {
	if _, err := io.Copy(io.Discard, d.limit); err != nil {
		return d.dataError(err)
	}
	for {
		name, _, err := d.ar.next()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(name, "_") {
			return fmt.Errorf("ar: member %q after %s", name, d.member)
		}
	}
}

func (d *Reader) entry(h *tar.Header) (*Entry, error) {
	p, err := cleanEntryPath(h.Name)
	if err != nil {
		return nil, err
	}
	e := &Entry{Path: p}
	if h.Typeflag == tar.TypeLink {
		if e.Link, err = cleanEntryPath(h.Linkname); err != nil {
			return nil, fmt.Errorf("hard link target %q: %w", shorten(h.Linkname), err)
		}
		return e, d.paths.add(p, false)
	}
	if e.Node, err = node(h); err != nil {
		return nil, err
	}
	if e.Node.Type == tree.File {
		e.Size = h.Size
	}
	if p == "." && e.Node.Type != tree.Dir {
		return nil, fmt.Errorf("the root is a %s", e.Node.Type)
	}
	return e, d.paths.add(p, e.Node.Type == tree.Symlink)
}

// node translates the metadata of a tar header.
func node(h *tar.Header) (*tree.Node, error) {
	n := &tree.Node{
		Mode: uint32(h.Mode & 0o7777), MTime: h.ModTime.Unix(),
		UID: uint32(h.Uid), GID: uint32(h.Gid),
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return nil, fmt.Errorf("owner %d:%d", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		n.Type = tree.File
	case tar.TypeDir:
		n.Type = tree.Dir
	case tar.TypeSymlink:
		n.Type, n.Target = tree.Symlink, h.Linkname
		if n.Target == "" || len(n.Target) >= MaxPath || strings.ContainsRune(n.Target, 0) {
			return nil, fmt.Errorf("symlink target %q", shorten(n.Target))
		}
	case tar.TypeChar, tar.TypeBlock:
		n.Type = tree.Char
		if h.Typeflag == tar.TypeBlock {
			n.Type = tree.Block
		}
		// The kernel's limits: 12 bits of major and 20 bits of minor number.
		if uint64(h.Devmajor) >= 1<<12 || uint64(h.Devminor) >= 1<<20 {
			return nil, fmt.Errorf("device %d:%d", h.Devmajor, h.Devminor)
		}
		n.Major, n.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		n.Type = tree.Fifo
	default:
		return nil, fmt.Errorf("entry type %q is not known", h.Typeflag)
	}
	return n, xattrs(n, h)
}

// xattrs takes the extended attributes, which GNU tar and star keep in PAX
// records.
func xattrs(n *tree.Node, h *tar.Header) error {
	const prefix = "SCHILY.xattr."
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if name == "" || len(name) > 255 {
			return fmt.Errorf("extended attribute name %q", shorten(name))
		}
		if size += len(name) + len(value); size > MaxXattrs {
			return fmt.Errorf("more than %d bytes of extended attributes", MaxXattrs)
		}
		if n.Xattrs == nil {
			n.Xattrs = map[string]string{}
		}
		n.Xattrs[name] = value
	}
	return nil
}

// cleanEntryPath accepts only names relative to the root: "./usr/bin/ls".
func cleanEntryPath(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("is empty")
	case len(name) >= MaxPath:
		return "", fmt.Errorf("longer than %d bytes", MaxPath-1)
	case strings.HasPrefix(name, "/"):
		return "", errors.New("is absolute")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("leaves the root")
		}
		if len(part) > 255 {
			return "", fmt.Errorf("has a name of %d bytes", len(part))
		}
	}
	return tree.Clean(name)
}

// pathGuard refuses paths that lie behind a symlink of the same package, which
// would be written elsewhere than they say.
type pathGuard struct {
	links map[string]bool
	last  string // directory found good, so that neighbours cost nothing
}

func (g *pathGuard) add(p string, symlink bool) error {
	if dir := path.Dir(p); dir != g.last && len(g.links) > 0 {
		for q := dir; q != "."; q = path.Dir(q) {
			if g.links[q] {
				return fmt.Errorf("/%s is a symlink of the same package", q)
			}
		}
		g.last = dir
	}
	if symlink {
		if g.links == nil {
			g.links = map[string]bool{}
		}
		g.links[p] = true
		g.last = ""
	}
	return nil
}

// shorten keeps messages about hostile names readable.
func shorten(name string) string {
	if len(name) > 128 {
		return name[:128] + "..."
	}
	return name
}
