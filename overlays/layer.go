package overlays

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"slipway/build/tree"
)

// Layer is one overlay directory, read.
type Layer struct {
	Name string
	Spec Spec
	// Files are the paths the layer sets, in byte order.
	Files []File
	// Scripts maps a package (or a glob of package names) to its maintainer
	// scripts: preinst, postinst, prerm, postrm, config.
	Scripts map[string]map[string]Script
	// Keys are the archive signing keys in keys/*.asc.
	Keys []Key
	// Digest covers every file of the layer with its name and exec bit.
	Digest [32]byte
}

// File is a path that a layer sets in the image's tree.
type File struct {
	Path   string // clean, without a leading slash
	Layer  string
	Type   tree.Type // Dir, File or Symlink
	Mode   uint32
	Owner  string // name or number
	Group  string
	Target string    // of a symlink
	Blob   tree.Blob // of a regular file
	Copy   string    // package path to take content from, instead of Blob
	// Program is what the build compiles to make Blob; nil for other files.
	Program *Program
	// Adjust says that the path is a package's and only Mode, Owner and
	// Group change, each if it is not zero.
	Adjust  bool
	Replace bool
}

// Key is an OpenPGP public key, armored, that an archive may sign with.
type Key struct {
	Name string // file name, for messages
	Data []byte
}

// Load reads the layer whose directory is the root of fsys. Contents of files
// are hashed now and opened again when a Blob is read. Errors name the layer.
func Load(fsys fs.FS, name string) (*Layer, error) {
	l := &Layer{Name: name}
	if err := decodeFile(fsys, "overlay.yaml", name+"/overlay.yaml", &l.Spec); err != nil {
		return nil, err
	}
	if _, err := fs.Stat(fsys, "scripts.yaml"); err == nil {
		err := decodeFile(fsys, "scripts.yaml", name+"/scripts.yaml", &l.Scripts)
		if err != nil {
			return nil, err
		}
	}
	found, err := l.scan(fsys)
	if err != nil {
		return nil, fmt.Errorf("overlay %s: %w", name, err)
	}
	if err := l.setFiles(found); err != nil {
		return nil, err
	}
	if err := l.setPrograms(fsys); err != nil {
		return nil, err
	}
	slices.SortFunc(l.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return l, l.Validate()
}

// scanned is a regular file found in the layer's directory.
type scanned struct {
	blob *fileBlob
	exec bool
}

// scan hashes every file of the layer and sets Digest and Keys. It returns
// what lies in files/, by path in the image; directories have no blob.
func (l *Layer) scan(fsys fs.FS) (map[string]scanned, error) {
	found := map[string]scanned{}
	sum := sha256.New()
	err := fs.WalkDir(fsys, ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inImage, isFile := strings.CutPrefix(p, "files/")
		if entry.IsDir() {
			if isFile {
				found[inImage] = scanned{}
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s: not a regular file; declare links under files: in overlay.yaml", p)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		blob, err := newFileBlob(fsys, p)
		if err != nil {
			return err
		}
		exec := info.Mode()&0o100 != 0
		hashEntry(sum, p, exec, blob.sum)
		switch {
		case isFile:
			found[inImage] = scanned{blob, exec}
		case path.Dir(p) == "keys" && path.Ext(p) == ".asc":
			data, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			l.Keys = append(l.Keys, Key{Name: l.Name + "/" + p, Data: data})
		}
		return nil
	})
	sum.Sum(l.Digest[:0])
	return found, err
}

// hashEntry adds a file to a layer's digest, each field with its length.
func hashEntry(h hash.Hash, name string, exec bool, sum [32]byte) {
	var head [9]byte
	binary.LittleEndian.PutUint64(head[:], uint64(len(name)))
	if exec {
		head[8] = 1
	}
	h.Write(head[:])
	io.WriteString(h, name)
	h.Write(sum[:])
}

// setFiles joins what files/ holds with what overlay.yaml says about it. A
// directory of files/ counts only if overlay.yaml declares it: git keeps none
// that is empty, and the others follow from their files.
func (l *Layer) setFiles(found map[string]scanned) error {
	for p, s := range found {
		if s.blob == nil {
			continue
		}
		mode := uint32(0o644)
		if s.exec {
			mode = 0o755
		}
		l.Files = append(l.Files, File{Path: p, Type: tree.File, Mode: mode, Blob: s.blob})
	}
	for p, spec := range l.Spec.Files {
		i := slices.IndexFunc(l.Files, func(f File) bool { return f.Path == p })
		if i < 0 {
			f, err := spec.file(p)
			if err != nil {
				return fmt.Errorf("%s/overlay.yaml: %w", l.Name, err)
			}
			l.Files = append(l.Files, f)
			continue
		}
		if spec.kinds() > 0 {
			return fmt.Errorf("%s/overlay.yaml: files: %q exists in files/ too", l.Name, p)
		}
		f := &l.Files[i]
		f.Owner, f.Group, f.Replace = spec.Owner, spec.Group, spec.Replace
		if spec.Mode != 0 {
			f.Mode = uint32(spec.Mode)
		}
	}
	for i := range l.Files {
		f := &l.Files[i]
		f.Layer = l.Name
		if f.Adjust {
			continue
		}
		f.Owner = orDefault(f.Owner, "root")
		f.Group = orDefault(f.Group, "root")
	}
	return nil
}

// file turns a declaration that needs nothing from files/ into a File.
func (s FileSpec) file(p string) (File, error) {
	f := File{
		Path: p, Type: tree.File, Mode: uint32(s.Mode), Owner: s.Owner, Group: s.Group,
		Copy: s.Copy, Adjust: s.Adjust, Replace: s.Replace,
	}
	switch n := s.kinds(); {
	case n == 0:
		return f, fmt.Errorf(
			"files: %q is not in files/ and has no symlink, directory, content, copy or adjust", p)
	case n > 1:
		return f, fmt.Errorf(
			"files: %q has more than one of symlink, directory, content, copy, adjust", p)
	case s.Symlink != "":
		f.Type, f.Target, f.Mode = tree.Symlink, s.Symlink, 0o777
	case s.Directory:
		f.Type = tree.Dir
		if f.Mode == 0 {
			f.Mode = 0o755
		}
	case s.Content != nil:
		f.Blob = tree.Bytes([]byte(*s.Content))
		if f.Mode == 0 {
			f.Mode = 0o644
		}
	}
	return f, nil
}

// kinds counts how many of the ways to declare a path are used.
func (s FileSpec) kinds() int {
	n := 0
	for _, used := range []bool{
		s.Symlink != "", s.Directory, s.Content != nil, s.Copy != "", s.Adjust,
	} {
		if used {
			n++
		}
	}
	return n
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// fileBlob is a regular file of an overlay, hashed once.
type fileBlob struct {
	fsys fs.FS
	name string
	size int64
	sum  [32]byte
}

func newFileBlob(fsys fs.FS, name string) (*fileBlob, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := &fileBlob{fsys: fsys, name: name}
	h := sha256.New()
	if b.size, err = io.Copy(h, f); err != nil {
		return nil, err
	}
	h.Sum(b.sum[:0])
	return b, nil
}

func (b *fileBlob) Size() int64                  { return b.size }
func (b *fileBlob) SHA256() [32]byte             { return b.sum }
func (b *fileBlob) Open() (io.ReadCloser, error) { return b.fsys.Open(b.name) }
