// Package tools runs the few foreign programs that a build and its tests need
// without asking the host for them: they are Debian packages, pinned by digest
// in tools.lock, unpacked into a directory of the cache, and started through
// the loader that they bring. So they run on any x86-64 Linux, and are the
// same everywhere.
//
// It does not know where packages come from (a Provider does), runs no
// maintainer scripts, and does not isolate programs: they see the host's
// files.
package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/build/flock"
	"slipway/build/lock"
	"slipway/build/unpack"
)

// ErrGone says that the mirror no longer has a pinned package.
var ErrGone = errors.New("no longer on the mirror")

// Provider brings packages. Its methods are called only when a tools tree has
// to be made.
type Provider interface {
	// Fetch makes the packages available to OpenPackage. If the mirror lacks
	// some, the error wraps ErrGone.
	Fetch(ctx context.Context, l *lock.Lock) error
	// OpenPackage gives the .deb of a fetched package; the caller closes it.
	OpenPackage(p *lock.Package) (io.ReadCloser, error)
	// Resolve finds the packages of a group in the archive as it is today.
	Resolve(ctx context.Context, g Group) (*lock.Lock, error)
}

// Options says which tools tree to open.
type Options struct {
	CacheDir string // of slipway; the trees are in its folder tools
	Group    string
	Lock     *lock.Lock // of the group; Pinned if nil
	Provider Provider
	Strict   bool              // a pinned package that is gone is an error
	Warn     func(line string) // hears of packages that are not the pinned ones; may be nil
	Workers  int               // packages unpacked at once; 1 if 0
}

// Tree is a directory of unpacked programs.
type Tree struct {
	dir      string
	manifest manifest
}

// manifest is the file manifest.json of a tools tree. It is written last.
type manifest struct {
	Format    int            `json:"format"`
	Group     string         `json:"group"`
	Digest    string         `json:"digest"` // of the packages
	Fresh     bool           `json:"fresh"`  // resolved anew because pinned ones were gone
	Packages  []lock.Package `json:"packages"`
	Libraries []string       `json:"libraries"` // directories of shared libraries, below the root
}

// manifestFormat also stands for how trees are written to disk.
const manifestFormat = 1

// Open gives the tools tree of a group and makes it first if the cache lacks
// it. Several processes may do so at once: one makes it, the others wait.
func Open(ctx context.Context, o *Options) (*Tree, error) {
	t, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("tools %q: %w", o.Group, err)
	}
	return t, nil
}

func open(ctx context.Context, o *Options) (*Tree, error) {
	group, ok := LookupGroup(o.Group)
	if !ok {
		return nil, errors.New("no such group")
	}
	text, err := o.lockText()
	if err != nil {
		return nil, err
	}
	base := filepath.Join(o.CacheDir, "tools")
	dir := filepath.Join(base, fmt.Sprintf("%s-%d-%.16x", group.Name, manifestFormat, sha256.Sum256(text)))
	if t, err := load(dir); err == nil && t.usable(o) {
		return t, nil
	}
	if o.Provider == nil {
		return nil, errors.New("is not in the cache, and there is nothing to get it from")
	}
	pinned, err := lock.Read(bytes.NewReader(text), LockName(group.Name))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(base, 0o777); err != nil {
		return nil, err
	}
	unlock, err := flock.Lock(ctx, filepath.Join(base, group.Name+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t, err := load(dir); err == nil && t.usable(o) {
		return t, nil
	}
	return provision(ctx, o, group, pinned, dir)
}

// usable says whether a tree that exists may serve.
func (t *Tree) usable(o *Options) bool { return !t.manifest.Fresh || !o.Strict }

func load(dir string) (*Tree, error) {
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, err
	}
	t := &Tree{dir: dir}
	if err := json.Unmarshal(text, &t.manifest); err != nil {
		return nil, err
	}
	if t.manifest.Format != manifestFormat {
		return nil, fmt.Errorf("format %d, not %d", t.manifest.Format, manifestFormat)
	}
	return t, nil
}

// digest names a set of packages.
func digest(l *lock.Lock) string {
	sums := make([]string, len(l.Packages))
	for i, p := range l.Packages {
		sums[i] = p.SHA256.String()
	}
	slices.Sort(sums)
	sum := sha256.Sum256([]byte(strings.Join(sums, "\n")))
	return hex.EncodeToString(sum[:])
}

// provision makes the tree at dir. The caller holds the lock of the group.
func provision(ctx context.Context, o *Options, g Group, l *lock.Lock, dir string) (*Tree, error) {
	fetched, err := fetch(ctx, o, g, l)
	if err != nil {
		return nil, err
	}
	base, prefix := filepath.Dir(dir), ".new-"+g.Name+"-"
	// What is there under the lock is of processes that were killed.
	if err := removePrefixed(base, prefix); err != nil {
		return nil, err
	}
	temp := filepath.Join(base, prefix+filepath.Base(dir))
	defer os.RemoveAll(temp)
	err = unpackTo(ctx, o, fetched.Packages, filepath.Join(temp, "root"), filepath.Join(temp, "unpacked"))
	if err != nil {
		return nil, err
	}
	t := &Tree{dir: temp, manifest: manifest{
		Format: manifestFormat, Group: g.Name, Digest: digest(fetched), Fresh: fetched != l,
		Packages: fetched.Packages,
	}}
	if err := t.complete(g); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, dir); err != nil {
		return nil, err
	}
	t.dir = dir
	return t, nil
}

// fetch gets the packages of l, or today's if some of them are gone.
func fetch(ctx context.Context, o *Options, g Group, l *lock.Lock) (*lock.Lock, error) {
	err := o.Provider.Fetch(ctx, l)
	if err == nil {
		return l, nil
	}
	if o.Strict || !errors.Is(err, ErrGone) {
		return nil, err
	}
	if o.Warn != nil {
		o.Warn(fmt.Sprintf("tools %q: %v; taking today's packages instead of the pinned ones", g.Name, err))
	}
	fresh, err := o.Provider.Resolve(ctx, g)
	if err != nil {
		return nil, err
	}
	return fresh, o.Provider.Fetch(ctx, fresh)
}

// removePrefixed removes what begins with prefix in its directory.
func removePrefixed(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete finds the libraries, checks the promised programs, and writes
// wrappers and manifest.
func (t *Tree) complete(g Group) error {
	var err error
	if t.manifest.Libraries, err = libraryDirs(t.Path("")); err != nil {
		return err
	}
	for _, program := range g.Programs {
		if _, err := t.find(program); err != nil {
			return err
		}
	}
	if err := t.writeWrappers(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(t.manifest, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.dir, "manifest.json"), append(text, '\n'), 0o644)
}

// unpackTo unpacks the packages into root, by way of a cache of its own that
// goes when it is done.
func unpackTo(ctx context.Context, o *Options, packages []lock.Package, root, cacheDir string) error {
	cache, err := unpack.Open(cacheDir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(cacheDir)
	defer cache.Close()
	requests := make([]unpack.Request, len(packages))
	for i := range packages {
		p := &packages[i]
		requests[i] = unpack.Request{
			Name: p.Name, SHA256: p.SHA256, Size: p.Size,
			Open: func() (io.ReadCloser, error) { return o.Provider.OpenPackage(p) },
		}
	}
	unpacked, err := cache.All(ctx, requests, &unpack.AllOptions{Workers: o.Workers})
	if err != nil {
		return err
	}
	return write(ctx, root, unpacked)
}

// Path gives the place of a file of the tree on the host. The file may be
// named with or without a leading slash; symlinks at the root (bin, lib) work.
func (t *Tree) Path(rel string) string { return filepath.Join(t.dir, "root", rel) }

// Digest names the packages that the tree was made of: equal digests are equal
// programs.
func (t *Tree) Digest() string { return t.manifest.Digest }

// Fresh says that the packages are not the pinned ones, because those were
// gone from the mirror.
func (t *Tree) Fresh() bool { return t.manifest.Fresh }

// Packages are what the tree was made of.
func (t *Tree) Packages() []lock.Package { return slices.Clone(t.manifest.Packages) }

// exists tells a missing file from other trouble.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
