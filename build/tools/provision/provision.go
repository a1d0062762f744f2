// Package provision gets the packages of tools trees from a Debian archive: it
// joins package tools to archive, resolver and store. It also makes the lock
// files that pin the tools.
//
// It does not decide where caches and mirrors are; without being told it looks
// where apt of the host looks.
package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"slipway/build/archive"
	"slipway/build/lock"
	"slipway/build/resolver"
	"slipway/build/store"
	"slipway/build/tools"
)

// Options says how to get tools.
type Options struct {
	CacheDir string // of slipway; holds the folders tools, store and index
	Mirror   string // value of --mirror; else $SLIPWAY_MIRROR, else the host's apt sources
	Strict   bool   // a pinned package that is gone from the mirror is an error
	Workers  int    // packages unpacked at once; 1 if 0

	// Keys verify the archive when tools are resolved: for Lock, and when a
	// pinned package is gone. The host's Debian keyring if nil.
	Keys *archive.Keys
	Now  time.Time

	Warn     func(line string)      // may be nil
	Progress func(archive.Progress) // may be nil
}

// suite is where tools come from.
type suite struct{ archive, name string }

func suites() []suite {
	return []suite{{archive.Debian, "trixie"}, {archive.Security, "trixie-security"}}
}

// keyring is where Debian machines keep the keys of their archive.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Open gives the tools tree of a group and gets it first if need be.
func Open(ctx context.Context, group string, o *Options) (*tools.Tree, error) {
	kept, err := store.Open(filepath.Join(o.CacheDir, "store"))
	if err != nil {
		return nil, err
	}
	return tools.Open(ctx, &tools.Options{
		CacheDir: o.CacheDir, Group: group, Strict: o.Strict, Warn: o.Warn, Workers: o.Workers,
		Provider: &provider{o, kept},
	})
}

// Lock resolves a group in the archive as it is today. Writing it to
// tools.LockName pins it. The packages are not fetched, so the lock has no
// digests of maintainer scripts, which tools never run.
func Lock(ctx context.Context, group string, o *Options) (*lock.Lock, error) {
	g, ok := tools.LookupGroup(group)
	if !ok {
		return nil, fmt.Errorf("tools %q: no such group", group)
	}
	kept, err := store.Open(filepath.Join(o.CacheDir, "store"))
	if err != nil {
		return nil, err
	}
	return (&provider{o, kept}).Resolve(ctx, g)
}

// Package gives the .deb of a pinned package, from the store or the mirror. The
// caller closes it.
func Package(ctx context.Context, pkg *lock.Package, o *Options) (*os.File, error) {
	kept, err := store.Open(filepath.Join(o.CacheDir, "store"))
	if err != nil {
		return nil, err
	}
	p := &provider{o, kept}
	if err := p.Fetch(ctx, &lock.Lock{Packages: []lock.Package{*pkg}}); err != nil {
		return nil, err
	}
	return kept.OpenFile(pkg.SHA256)
}

// provider is the tools.Provider of a Debian archive.
type provider struct {
	o     *Options
	store *store.Store
}

// client looks for mirrors only when something has to be fetched.
func (p *provider) client() (*archive.Client, error) {
	mirrors, err := archive.FindMirrors(&archive.MirrorOptions{
		Flag: p.o.Mirror, Env: os.Getenv("SLIPWAY_MIRROR"), Host: os.DirFS("/"),
	})
	if err != nil {
		return nil, err
	}
	return archive.New(&archive.Options{
		Mirrors: mirrors, Store: p.store, Dir: filepath.Join(p.o.CacheDir, "index"), Progress: p.o.Progress,
	}), nil
}

// Fetch implements tools.Provider.
func (p *provider) Fetch(ctx context.Context, l *lock.Lock) error {
	var missing []archive.Download
	for _, d := range l.Downloads() {
		if !p.store.Has(d.SHA256) {
			missing = append(missing, d)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	err = client.Fetch(ctx, missing)
	var gone *archive.MissingError
	if errors.As(err, &gone) {
		return &goneError{err}
	}
	return err
}

// goneError adds tools.ErrGone to an error without changing its text.
type goneError struct{ error }

func (e *goneError) Unwrap() []error { return []error{e.error, tools.ErrGone} }

// OpenPackage implements tools.Provider.
func (p *provider) OpenPackage(l *lock.Package) (io.ReadCloser, error) {
	return p.store.OpenFile(l.SHA256)
}

// Resolve implements tools.Provider.
func (p *provider) Resolve(ctx context.Context, g tools.Group) (*lock.Lock, error) {
	keys, err := p.keys()
	if err != nil {
		return nil, err
	}
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	request := &resolver.Request{Exclude: g.Exclude}
	for _, name := range g.Packages {
		request.Packages = append(request.Packages, resolver.Want{Package: name, Why: "tools " + g.Name})
	}
	var from []*archive.Suite
	for _, s := range suites() {
		opened, err := client.Suite(ctx, &archive.SuiteOptions{
			Archive: s.archive, Suite: s.name, Components: []string{"main"}, Keys: keys, Now: p.o.Now,
		})
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		from = append(from, opened)
		for _, index := range opened.Indexes {
			request.Indexes = append(request.Indexes, index)
		}
	}
	result, err := resolver.Resolve(request)
	if err != nil {
		return nil, err
	}
	return lock.New(from, result), nil
}

func (p *provider) keys() (*archive.Keys, error) {
	if p.o.Keys != nil {
		return p.o.Keys, nil
	}
	f, err := os.Open(keyring)
	if err != nil {
		return nil, fmt.Errorf("keys of the Debian archive: %w", err)
	}
	defer f.Close()
	keys := new(archive.Keys)
	return keys, keys.Read(keyring, f)
}
