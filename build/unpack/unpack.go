// Package unpack turns Debian packages into trees, and decompresses each
// package once in its life: what it finds is kept in a cache directory, in the
// form a build wants to read it.
//
//	unpacked/<sha256 of the .deb>/data   contents of all regular files
//	unpacked/<sha256 of the .deb>/tree   all else, see index.go
//
// Two things change on the way, for every package alike: bin, sbin, lib and
// their like at the root become usr/bin and so on, and kernel modules are
// stored uncompressed under the name without .xz or .zst, so that a small
// change to a module stays a small change of the image.
//
// It runs no maintainer scripts, and leaves to package finish what becomes of
// /etc and /var.
package unpack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"slipway/build/deb"
	"slipway/build/tree"
)

// Package is an unpacked package. Trees and maps belong to the caller, one
// fresh copy for each call.
type Package struct {
	Name         string
	Version      string
	Architecture string
	Fields       deb.Fields

	// Scripts are the SHA-256 sums of the maintainer scripts: preinst,
	// postinst, prerm, postrm, config, as far as they exist.
	Scripts map[string][sha256.Size]byte

	// Control has every control file ("conffiles", "triggers", and the
	// scripts), except md5sums and control itself.
	Control map[string]tree.Blob

	// Tree is what the package installs. Each node's Origin is
	// "package NAME"; its Blobs stay readable until the cache is closed.
	Tree *tree.Tree
}

// Request names a package to unpack.
type Request struct {
	Name   string                        // as expected; "" for any
	SHA256 [sha256.Size]byte             // of the .deb file
	Size   int64                         // of the .deb file; only to begin with the largest
	Open   func() (io.ReadCloser, error) // called only if the cache lacks the package
}

// Cache is a directory of unpacked packages. Several goroutines and several
// processes may use one directory.
type Cache struct {
	dir   string
	sweep sync.Once

	mu    sync.Mutex
	files []*dataFile
}

// Open uses dir, which it makes if need be.
func Open(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return &Cache{dir: dir}, nil
}

// Close closes the files behind the Blobs of every package given out.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.close())
	}
	c.files = nil
	return errors.Join(errs...)
}

// Package gives the package of the request, from the cache or else by
// unpacking what Open gives, whose SHA-256 must be the one asked for. A cache
// entry is accepted when the digest of its index and the size of its data are
// right; another one is made again. Nothing is left behind on an error.
func (c *Cache) Package(ctx context.Context, q Request) (_ *Package, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("package %q: %w", q.label(), err)
		}
	}()
	p, err := c.load(q.SHA256)
	if err != nil && !errors.Is(err, errNotCached) {
		return nil, err
	}
	if p == nil {
		if p, err = c.make(ctx, q); err != nil {
			return nil, err
		}
	}
	if q.Name != "" && q.Name != p.Name {
		return nil, fmt.Errorf("file is of package %q", p.Name)
	}
	return p, nil
}

func (q Request) label() string {
	if q.Name != "" {
		return q.Name
	}
	return fmt.Sprintf("%x", q.SHA256[:6])
}

// AllOptions controls All.
type AllOptions struct {
	Workers int               // packages at once; 1 if 0
	Done    func(name string) // called after each package, one call at a time
}

// All gives the packages in the order of the requests. The first error stops
// all work.
func (c *Cache) All(ctx context.Context, requests []Request, o *AllOptions) ([]*Package, error) {
	if o == nil {
		o = &AllOptions{}
	}
	// The largest first: one that begins last would be waited for alone.
	order := make([]int, len(requests))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(min(max(requests[b].Size-requests[a].Size, -1), 1))
	})
	packages := make([]*Package, len(requests))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(o.Workers, 1))
	var mu sync.Mutex
	for _, i := range order {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			p, err := c.Package(inner, requests[i])
			packages[i] = p
			if err == nil && o.Done != nil {
				mu.Lock()
				defer mu.Unlock()
				o.Done(p.Name)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return packages, ctx.Err()
}

func (c *Cache) entryDir(sum [sha256.Size]byte) string {
	return filepath.Join(c.dir, fmt.Sprintf("%x", sum))
}
