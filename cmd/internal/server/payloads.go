package server

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"slipway/cmd/internal/release"
)

// readVersion finds the payloads of a version. One without any is kept: its
// channel has nothing to offer then.
func (c *catalog) readVersion(dir, name string) (*version, error) {
	v := &version{Version: name, Deltas: map[string]*file{}}
	full, err := c.readFile(path.Join(dir, release.Payload))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	v.Full = full
	deltas, err := fs.Glob(c.root.FS(), path.Join(dir, deltaPrefix+"*"+deltaSuffix))
	if err != nil {
		return nil, err
	}
	for _, name := range deltas {
		f, err := c.readFile(name)
		if err != nil {
			return nil, err
		}
		from := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), deltaPrefix), deltaSuffix)
		v.Deltas[from] = f
	}
	return v, nil
}

// The names of delta payloads: update-from-4888.0.0.payload.
const (
	deltaPrefix = "update-from-"
	deltaSuffix = ".payload"
)

// readFile hashes a payload, unless that was done before.
func (c *catalog) readFile(name string) (*file, error) {
	f, err := c.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	id := fmt.Sprint(name, st.Size(), st.ModTime().Format(time.RFC3339Nano))
	if known := c.digest[id]; known != nil {
		return known, nil
	}
	h, old := sha256.New(), sha1.New() // old clients look at SHA-1
	if _, err := io.Copy(io.MultiWriter(h, old), f); err != nil {
		return nil, err
	}
	got := &file{Path: name, Size: st.Size(), SHA256: [32]byte(h.Sum(nil)), SHA1: [20]byte(old.Sum(nil))}
	c.digest[id] = got
	return got, nil
}
