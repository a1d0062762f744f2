package unpack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/build/deb"
)

// errNotCached: there is no usable entry.
var errNotCached = errors.New("not in the cache")

// tempPrefix begins the names of entries being written. Their data file is
// locked as long as the writer lives.
const tempPrefix = ".new-"

// load reads a cache entry. An entry that is missing or damaged gives
// errNotCached.
func (c *Cache) load(sum [sha256.Size]byte) (*Package, error) {
	dir := c.entryDir(sum)
	index, err := readIndex(filepath.Join(dir, "tree"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotCached
	} else if err != nil {
		return nil, err
	}
	body, dataSize, err := decodeHead(index)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotCached, err)
	}
	file := &dataFile{path: filepath.Join(dir, "data")}
	switch info, err := os.Stat(file.path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNotCached
	case err != nil:
		return nil, err
	case info.Size() != dataSize:
		return nil, fmt.Errorf("%w: data has %d bytes, not %d", errNotCached, info.Size(), dataSize)
	}
	p, err := decodeBody(body, dataSize, file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotCached, err)
	}
	c.mu.Lock()
	c.files = append(c.files, file)
	c.mu.Unlock()
	return p, nil
}

func readIndex(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxIndexSize {
		return nil, nil // damaged: decodeHead refuses it
	}
	index := make([]byte, info.Size())
	_, err = io.ReadFull(f, index)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return nil, nil
	}
	return index, err
}

// make unpacks the package aside and moves it to its place.
func (c *Cache) make(ctx context.Context, q Request) (*Package, error) {
	c.sweep.Do(func() { _ = c.Sweep() })
	in, err := q.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	temp, data, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	defer data.Close()
	if err := writeEntry(ctx, temp, data, in, q.SHA256); err != nil {
		return nil, err
	}
	if err := c.place(temp, q.SHA256); err != nil {
		return nil, err
	}
	p, err := c.load(q.SHA256)
	if err != nil {
		return nil, fmt.Errorf("cache entry just written: %w", err)
	}
	return p, nil
}

// begin makes a directory to write an entry in, and its data file, which is
// locked against Sweep.
func (c *Cache) begin() (dir string, data *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp(c.dir, tempPrefix); err != nil {
			return "", nil, err
		}
		if data, err = lockedFile(filepath.Join(dir, "data")); err == nil {
			err = os.Chmod(dir, 0o755)
		}
		switch {
		case err == nil:
			return dir, data, nil
		case errors.Is(err, fs.ErrNotExist):
			continue // Sweep of another process was in between
		}
		os.RemoveAll(dir)
		return "", nil, err
	}
}

// lockedFile makes a file and locks it. If the file is gone by then the error
// is fs.ErrNotExist.
func lockedFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		err = fmt.Errorf("lock %s: %w", path, err)
	} else {
		_, err = os.Stat(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// place renames the finished directory. Another process may have been faster:
// then its entry is as good, unless it is damaged.
func (c *Cache) place(temp string, sum [sha256.Size]byte) error {
	dir := c.entryDir(sum)
	var err error
	for range 10 {
		if err = os.Rename(temp, dir); err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		_, lerr := c.load(sum)
		if lerr == nil {
			return nil
		} else if !errors.Is(lerr, errNotCached) {
			return lerr
		}
		// Moved away first, so that nobody sees an entry half removed.
		old := temp + ".old"
		if rerr := os.Rename(dir, old); rerr == nil {
			_ = os.RemoveAll(old)
		} else if !errors.Is(rerr, fs.ErrNotExist) {
			return rerr
		}
	}
	return err
}

// writeEntry fills dir, whose data file is open, from a package file.
func writeEntry(ctx context.Context, dir string, data *os.File, in io.Reader, want [sha256.Size]byte) error {
	hash := sha256.New()
	d, err := deb.NewReader(io.TeeReader(&contextReader{ctx, in}, hash))
	if err != nil {
		return err
	}
	defer d.Close()
	w := newWriter(ctx, data)
	p, err := w.unpack(d)
	if err != nil {
		return err
	}
	if got := hash.Sum(nil); string(got) != string(want[:]) {
		return fmt.Errorf("file has SHA-256 %x, not %x", got, want)
	}
	index := encodeIndex(p, w.offset)
	return os.WriteFile(filepath.Join(dir, "tree"), index, 0o644)
}

// contextReader ends a stream when the work is given up.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Sweep removes what interrupted processes left half-written. It leaves alone
// what is being written.
func (c *Cache) Sweep() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		dir := filepath.Join(c.dir, e.Name())
		f, err := os.Open(filepath.Join(dir, "data"))
		if err != nil {
			continue // not yet begun, or already gone
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			// The lock goes with f, after the removal.
			errs = append(errs, os.RemoveAll(dir))
		}
		f.Close()
	}
	return errors.Join(errs...)
}

// Verify reads every content of a cached package and compares its digest. A
// package that is not in the cache is no error.
func (c *Cache) Verify(sum [sha256.Size]byte) error {
	p, err := c.load(sum)
	if errors.Is(err, errNotCached) {
		return nil
	} else if err != nil {
		return err
	}
	for path, n := range p.Tree.All() {
		if n.Blob == nil {
			continue
		}
		r, err := n.Blob.Open()
		if err != nil {
			return err
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, r); err != nil {
			return err
		}
		if got := [sha256.Size]byte(hash.Sum(nil)); got != n.Blob.SHA256() {
			return fmt.Errorf("package %q: /%s in the cache has SHA-256 %x, not %x",
				p.Name, path, got, n.Blob.SHA256())
		}
	}
	return nil
}

// Remove drops a package from the cache. Blobs already opened stay readable.
func (c *Cache) Remove(sum [sha256.Size]byte) error { return os.RemoveAll(c.entryDir(sum)) }
