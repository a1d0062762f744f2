package unpack

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"slipway/build/deb"
	"slipway/build/tree"
)

// align is where contents begin in the data file: whole blocks can be shared
// with an image by copy_file_range.
const align = 4096

// writer fills the data file of one package and builds its tree.
type writer struct {
	ctx    context.Context
	out    *bufio.Writer
	offset int64 // in the data file, behind what was written
	buffer []byte

	tree    *tree.Tree
	origin  string
	renamed map[string]string // modules: path in the package -> path in the tree
	modules moduleQueue
}

func newWriter(ctx context.Context, out io.Writer) *writer {
	return &writer{
		ctx: ctx, out: bufio.NewWriterSize(out, 1<<20), buffer: make([]byte, 256<<10),
		tree: tree.New(), renamed: map[string]string{},
	}
}

// unpack reads the package to its end. Its Blobs know offset and digest but
// are not readable; load gives readable ones.
func (w *writer) unpack(d *deb.Reader) (_ *Package, err error) {
	defer w.modules.stop()
	p := &Package{Fields: d.Fields(), Control: map[string]tree.Blob{}, Tree: w.tree}
	p.describe()
	w.origin = "package " + p.Name
	w.tree.Lookup(".").Origin = w.origin
	if err := w.control(p, d); err != nil {
		return nil, err
	}
	for {
		e, err := d.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if err := w.entry(d, e); err != nil {
			return nil, err
		}
	}
	if err := w.finishModules(0); err != nil {
		return nil, err
	}
	if err := w.out.Flush(); err != nil {
		return nil, err
	}
	return p, nil
}

// describe fills what follows from Fields and Control.
func (p *Package) describe() {
	p.Name, p.Version = p.Fields["Package"], p.Fields["Version"]
	p.Architecture = p.Fields["Architecture"]
	p.Scripts = map[string][sha256.Size]byte{}
	for _, name := range deb.ScriptNames() {
		if b, ok := p.Control[name]; ok {
			p.Scripts[name] = b.SHA256()
		}
	}
}

func (w *writer) control(p *Package, d *deb.Reader) error {
	for name := range d.ControlFiles() {
		if name == "control" || name == "md5sums" {
			continue
		}
		p.Control[name] = nil
	}
	for _, name := range sortedKeys(p.Control) {
		blob, err := w.content(strings.NewReader(string(d.ControlFiles()[name])))
		if err != nil {
			return err
		}
		p.Control[name] = blob
	}
	p.describe()
	return nil
}

func (w *writer) entry(d *deb.Reader, e *deb.Entry) error {
	p, err := canonical(e)
	if err != nil {
		return err
	}
	if e.Node == nil {
		return w.hardLink(p, e)
	}
	n := e.Node
	n.Origin = w.origin
	if n.Type == tree.File {
		name, decompress := moduleName(p)
		if decompress != nil {
			w.renamed[p], p = name, name
		}
		if err := w.set(p, n); err != nil {
			return err
		}
		if decompress != nil {
			return w.module(d, e, decompress)
		}
		n.Blob, err = w.content(d)
		return err
	}
	return w.set(p, n)
}

func (w *writer) hardLink(p string, e *deb.Entry) error {
	target, err := canonicalPath(e.Link)
	if err != nil {
		return err
	}
	if name, ok := w.renamed[target]; ok {
		target = name
		p, _ = moduleName(p)
	}
	n := w.tree.Lookup(target)
	if n == nil || n.Type != tree.File {
		return fmt.Errorf("path /%s: hard link to /%s, which is no earlier file", p, target)
	}
	return w.set(p, n)
}

// set adds a node. A directory may come twice; the later one counts.
func (w *writer) set(p string, n *tree.Node) error {
	if old := w.tree.Lookup(p); old != nil {
		if old.Type != tree.Dir || n.Type != tree.Dir {
			return fmt.Errorf("path /%s: is in the package twice", p)
		}
		*old = *n
		return nil
	}
	return w.tree.Set(p, n)
}

// content appends what r gives to the data file.
func (w *writer) content(r io.Reader) (*section, error) {
	if err := w.pad(); err != nil {
		return nil, err
	}
	s, hash := &section{offset: w.offset}, sha256.New()
	for {
		n, err := r.Read(w.buffer)
		hash.Write(w.buffer[:n])
		if _, werr := w.out.Write(w.buffer[:n]); werr != nil {
			return nil, werr
		}
		s.size += int64(n)
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	w.offset += s.size
	hash.Sum(s.sum[:0])
	if s.size == 0 {
		s.offset = 0
	}
	return s, nil
}

func (w *writer) pad() error {
	n := int(-w.offset & (align - 1))
	clear(w.buffer[:n])
	_, err := w.out.Write(w.buffer[:n])
	w.offset += int64(n)
	return err
}

// canonical gives the path of an entry in a merged-/usr system: bin, sbin and
// lib* at the root are symlinks into usr. The symlinks themselves (of
// base-files) stay where they are.
func canonical(e *deb.Entry) (string, error) {
	if merged(e.Path) && e.Node != nil && e.Node.Type == tree.Symlink {
		if want := "usr/" + e.Path; strings.TrimPrefix(e.Node.Target, "/") != want {
			return "", fmt.Errorf("path /%s: symlink to %q, not %q", e.Path, e.Node.Target, want)
		}
		return e.Path, nil
	}
	if merged(e.Path) && (e.Node == nil || e.Node.Type != tree.Dir) {
		return "", fmt.Errorf("path /%s: must be a directory or a symlink into /usr", e.Path)
	}
	return canonicalPath(e.Path)
}

func canonicalPath(p string) (string, error) {
	if p == "." {
		return p, nil
	}
	top, _, _ := strings.Cut(p, "/")
	if merged(top) {
		p = path.Join("usr", p)
	}
	if len(p) >= deb.MaxPath {
		return "", errors.New("path is too long below /usr")
	}
	return p, nil
}

// merged says whether Debian's usrmerge makes this name at the root a symlink.
func merged(name string) bool {
	switch name {
	case "bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32":
		return true
	}
	return false
}
