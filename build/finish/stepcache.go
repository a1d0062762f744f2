package finish

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"slipway/build/tree"
)

// stepCache keeps what steps made, one file each: the SHA-256 of what follows,
// then a tar archive of files and links. A file that is not whole counts as
// absent, and a new one appears only by a rename: several processes may share
// the directory, and a power cut does not poison it.
type stepCache struct {
	dir string // the cache directory; "" for no cache
}

func (c stepCache) path(key string) string { return filepath.Join(c.dir, "steps", key) }

// load gives what is kept under the key, nil if nothing is.
func (c stepCache) load(key string) (*tree.Tree, error) {
	if c.dir == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) < sha256.Size {
		return nil, nil
	}
	if sum := sha256.Sum256(data[sha256.Size:]); !bytes.Equal(sum[:], data[:sha256.Size]) {
		return nil, nil
	}
	return unpackTree(data[sha256.Size:])
}

// store keeps a result.
func (c stepCache) store(key string, t *tree.Tree) (err error) {
	if c.dir == "" {
		return nil
	}
	packed, err := packTree(t)
	if err != nil {
		return err
	}
	dir := filepath.Dir(c.path(key))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	aside, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(aside.Name())
		}
	}()
	sum := sha256.Sum256(packed)
	_, err = aside.Write(append(sum[:], packed...))
	if err = errors.Join(err, aside.Chmod(0o644), aside.Close()); err != nil {
		return err
	}
	return os.Rename(aside.Name(), c.path(key))
}

// packTree writes the files and links of a tree as a tar archive.
func packTree(t *tree.Tree) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for p, n := range t.All() {
		h := &tar.Header{Name: p, Mode: int64(n.Mode), Format: tar.FormatPAX}
		var content []byte
		switch n.Type {
		case tree.Dir:
			continue
		case tree.Symlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, n.Target
		case tree.File:
			var err error
			if content, err = tree.ReadAll(n.Blob); err != nil {
				return nil, err
			}
			h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
		default:
			return nil, fmt.Errorf("internal error: /%s is a %s", p, n.Type)
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpackTree reads what packTree wrote.
func unpackTree(data []byte) (*tree.Tree, error) {
	t := tree.New()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		n := &tree.Node{Type: tree.Symlink, Mode: uint32(h.Mode), Target: h.Linkname}
		if h.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			n.Type, n.Blob = tree.File, tree.Bytes(content)
		}
		p, err := tree.Clean(h.Name)
		if err != nil {
			return nil, err
		}
		if err := t.Set(p, n); err != nil {
			return nil, err
		}
	}
}
