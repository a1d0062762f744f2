package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"slipway/build/store"
)

// Index is the package index of one component of a suite. Packages are parsed
// when they are asked for. It may be used by several goroutines.
type Index struct {
	Archive, Suite, Component, Architecture string
	SHA256                                  store.Sum // of the uncompressed Packages file

	dir  *directory
	file io.ReaderAt

	mu     sync.Mutex
	parsed map[int]*Package
}

// Len is the number of packages.
func (x *Index) Len() int { return len(x.dir.packages) }

// Named returns the packages of that name, several if the index has more than
// one version, nil if none. Equal calls return equal pointers.
func (x *Index) Named(name string) ([]*Package, error) {
	lo, hi := findRange(len(x.dir.packages), name, x.dir.packageName)
	var all []*Package
	for i := lo; i < hi; i++ {
		p, err := x.load(i)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Providing returns the packages whose Provides names a package, whatever the
// version.
func (x *Index) Providing(name string) ([]*Package, error) {
	lo, hi := findRange(len(x.dir.provides), name, x.dir.provideName)
	var all []*Package
	for i := lo; i < hi; i++ {
		p, err := x.load(int(x.dir.provides[i].number))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Names yields the names of packages, ascending, each once.
func (x *Index) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		last := ""
		for i := range x.dir.packages {
			name := x.dir.packageName(i)
			if name != last && !yield(name) {
				return
			}
			last = name
		}
	}
}

// load parses package number i, once.
func (x *Index) load(i int) (*Package, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.parsed[i]; p != nil {
		return p, nil
	}
	s := x.dir.packages[i]
	data := make([]byte, s.length)
	if _, err := x.file.ReadAt(data, int64(s.offset)); err != nil {
		return nil, fmt.Errorf("index of %s: %w", path.Join(x.Suite, x.Component), err)
	}
	p, err := parsePackage(data)
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", path.Join(x.Suite, x.Component), err)
	}
	p.Archive, p.Suite, p.Component = x.Archive, x.Suite, x.Component
	x.parsed[i] = p
	return p, nil
}

// Close releases the file; packages already returned stay good.
func (x *Index) Close() error {
	if x == nil {
		return nil
	}
	if c, ok := x.file.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// packings are the forms a Packages file may have, the best first.
var packings = []struct {
	ext  string
	open func(io.Reader) (io.Reader, error)
}{
	{".xz", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, 64<<20) }},
	{".zst", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderMaxMemory(128<<20)) }},
	{".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"", func(r io.Reader) (io.Reader, error) { return r, nil }},
}

// index loads one component's index, fetching it only if the store has no file
// of the digest that the Release gives.
func (c *Client) index(ctx context.Context, s *Suite, component string) (*Index, error) {
	name := component + "/binary-" + s.Architecture + "/Packages"
	plain, ok := s.Release.Files[name]
	if !ok {
		return nil, &ReleaseError{Suite: s.Name, Err: ErrNoIndex, Detail: fmt.Sprintf(
			"%s (component %q, architecture %q)", name, component, s.Architecture)}
	}
	if !c.Store.Has(plain.SHA256) {
		if err := c.fetchIndex(ctx, s, name, plain); err != nil {
			return nil, err
		}
	}
	return c.openIndex(s, component, plain)
}

// fetchIndex brings the uncompressed Packages file into the store, from
// whichever form of it the mirror has.
func (c *Client) fetchIndex(ctx context.Context, s *Suite, name string, plain Entry) error {
	var gone error
	for _, packing := range packings {
		packed, ok := s.Release.Files[name+packing.ext]
		if !ok {
			continue
		}
		err := c.fetchEntry(ctx, s, name+packing.ext, packed)
		var missing *MissingError
		if errors.As(err, &missing) {
			gone = err
			continue
		}
		if err != nil || packing.ext == "" {
			return err
		}
		return c.unpackIndex(ctx, s, name+packing.ext, packed, plain, packing.open)
	}
	if gone != nil {
		return gone
	}
	return &ReleaseError{Suite: s.Name, Err: ErrBadContents, Detail: "no form of " + name + " in it"}
}

// fetchEntry fetches a file that the Release vouches for, by its digest where
// the archive offers that: then a mirror that is being updated has it still.
func (c *Client) fetchEntry(ctx context.Context, s *Suite, name string, e Entry) error {
	d := Download{Name: "index " + name + " of " + s.Name, Archive: s.Archive, Size: e.Size, SHA256: e.SHA256}
	base := "dists/" + s.Name + "/"
	if s.Release.ByHash {
		d.Path = base + path.Dir(name) + "/by-hash/SHA256/" + e.SHA256.String()
		err := c.Fetch(ctx, []Download{d})
		var missing *MissingError
		if !errors.As(err, &missing) {
			return err
		}
	}
	d.Path = base + name
	return c.Fetch(ctx, []Download{d})
}

// unpackIndex decompresses a fetched index into the store and forgets the
// compressed form.
func (c *Client) unpackIndex(
	ctx context.Context, s *Suite, name string, packed, plain Entry, open func(io.Reader) (io.Reader, error),
) error {
	f, err := c.Store.OpenFile(packed.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := open(&contextReader{ctx, f})
	if err != nil {
		return fmt.Errorf("index %s of %s: %w", name, s.Name, err)
	}
	if d, ok := r.(*zstd.Decoder); ok {
		defer d.Close()
	}
	// Put reads at most one byte more than the size that was promised.
	if err := c.Store.Put(plain.SHA256, plain.Size, r); err != nil {
		return fmt.Errorf("index %s of %s: %w", name, s.Name, err)
	}
	return c.Store.Remove(packed.SHA256)
}

// contextReader ends with its context.
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

// openIndex loads the directory of a Packages file in the store, or makes it.
func (c *Client) openIndex(s *Suite, component string, plain Entry) (*Index, error) {
	f, err := c.Store.OpenFile(plain.SHA256)
	if err != nil {
		return nil, err
	}
	x := &Index{
		Archive: s.Archive, Suite: s.Name, Component: component, Architecture: s.Architecture,
		SHA256: plain.SHA256, file: f, parsed: map[int]*Package{},
	}
	name := filepath.Join(c.Dir, plain.SHA256.String()+".idx")
	if data, err := os.ReadFile(name); err == nil {
		if x.dir, err = decodeDirectory(data, plain.Size); err == nil {
			return x, nil
		}
	}
	x.dir, err = scanDirectory(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("index of %s/%s: %w", s.Name, component, err)
	}
	// Only the next run's speed depends on it.
	_ = writeAside(name, x.dir.encode())
	return x, nil
}

// ReadIndex reads a whole uncompressed Packages file, for indexes that are not
// of a signed archive. The file must stay as it is while the index is used.
func ReadIndex(archive, suite string, file io.ReaderAt, size int64) (*Index, error) {
	dir, err := scanDirectory(io.NewSectionReader(file, 0, size))
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", suite, err)
	}
	return &Index{Archive: archive, Suite: suite, dir: dir, file: file, parsed: map[int]*Package{}}, nil
}
