package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"slipway/build/archive"
	"slipway/build/lock"
	"slipway/build/resolver"
	"slipway/build/store"
	"slipway/build/tools"
	"slipway/build/tools/provision"
	"slipway/build/unpack"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/report"
	"slipway/overlays"
)

// packageSource is where packages come from and where they are kept.
type packageSource struct {
	store    *store.Store
	unpacked *unpack.Cache
	cache    string // directory of the cache
	mirror   string // value of --mirror
	expired  bool   // accept expired InRelease files
	workers  int
	rep      *report.Report
}

func openPackages(w *workspace, mirror string, expired bool, workers int, rep *report.Report) (*packageSource, error) {
	kept, err := store.Open(filepath.Join(w.cache, "store"))
	if err != nil {
		return nil, err
	}
	unpacked, err := unpack.Open(filepath.Join(w.cache, "unpacked"))
	if err != nil {
		return nil, err
	}
	return &packageSource{kept, unpacked, w.cache, mirror, expired, workers, rep}, nil
}

func (s *packageSource) Close() error { return s.unpacked.Close() }

// client looks for the mirrors only when something has to be fetched: a build
// from a lock whose packages are all there needs none.
func (s *packageSource) client(progress func(archive.Progress)) (*archive.Client, error) {
	mirrors, err := archive.FindMirrors(&archive.MirrorOptions{
		Flag: s.mirror, Env: os.Getenv("SLIPWAY_MIRROR"), Host: os.DirFS("/"),
	})
	if err != nil {
		return nil, hint.Add(err, "slipway build --mirror URL, or export SLIPWAY_MIRROR=URL")
	}
	return archive.New(&archive.Options{Mirrors: mirrors, Store: s.store,
		Dir: filepath.Join(s.cache, "index"), Progress: progress}), nil
}

// resolve picks the packages a configuration needs from the archive as it is
// now.
func (s *packageSource) resolve(ctx context.Context, config *overlays.Config, now time.Time) (*lock.Lock, error) {
	step := s.rep.Step("resolve")
	defer step.Fail()
	client, err := s.client(func(p archive.Progress) { step.Progress(p.BytesDone, p.Bytes) })
	if err != nil {
		return nil, err
	}
	keys, err := archiveKeys(config)
	if err != nil {
		return nil, err
	}
	request := &resolver.Request{Prefer: config.Prefer}
	request.Packages = wanted(config)
	var asked []*archive.SuiteOptions
	for _, suite := range config.Suites {
		asked = append(asked, &archive.SuiteOptions{
			Archive: suite.Archive, Suite: suite.Suite, Components: suite.Components,
			Keys: keys, Now: now, AllowExpired: s.expired,
		})
	}
	suites, err := client.Suites(ctx, asked)
	if err != nil {
		return nil, err
	}
	for _, suite := range suites {
		defer suite.Close()
		for _, index := range suite.Indexes {
			request.Indexes = append(request.Indexes, index)
		}
	}
	result, err := resolver.Resolve(request)
	if err != nil {
		return nil, err
	}
	l := lock.New(suites, result)
	if l.Programs, err = lockPrograms(config); err != nil {
		return nil, err
	}
	var bytes int64
	for _, p := range l.Packages {
		bytes += p.Size
	}
	step.Done("%d packages, %s, archive of %s", len(l.Packages), megabytes(bytes), l.Date.Format(time.DateOnly))
	return l, nil
}

// archiveKeys are the keys the overlays accept on a suite.
func archiveKeys(config *overlays.Config) (*archive.Keys, error) {
	keys := new(archive.Keys)
	for _, k := range config.Keys {
		if err := keys.Read(k.Name, bytes.NewReader(k.Data)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// tools gives the foreign programs of a group, fetching them on first use.
func (s *packageSource) tools(ctx context.Context, group string, config *overlays.Config) (*tools.Tree, error) {
	keys, err := archiveKeys(config)
	if err != nil {
		return nil, err
	}
	step := s.rep.Step("tools")
	defer step.Fail()
	return provision.Open(ctx, group, &provision.Options{
		CacheDir: s.cache, Mirror: s.mirror, Workers: s.workers, Keys: keys, Now: time.Now(),
		Warn:     func(line string) { s.rep.Warn("%s", line) },
		Progress: func(p archive.Progress) { step.Progress(p.BytesDone, p.Bytes) },
	})
}

// wanted lists the packages a configuration names, the kernel among them.
func wanted(config *overlays.Config) []resolver.Want {
	var list []resolver.Want
	for _, p := range config.Packages {
		list = append(list, resolver.Want{Package: p.Name, Why: "overlay " + p.Layer})
	}
	if config.Kernel.Package != "" {
		list = append(list, resolver.Want{Package: config.Kernel.Package, Why: "kernel of the overlays"})
	}
	return list
}

// readLock reads a lock that somebody wrote. It is strict: what the overlays
// name has to be in it.
func readLock(name string, config *overlays.Config) (*lock.Lock, error) {
	l, err := readLockFile(name)
	if err != nil {
		return nil, err
	}
	for _, p := range wanted(config) {
		if l.Package(p.Package) == nil {
			return nil, hint.Add(fmt.Errorf("%s: package %q of %s is not in the lock", name, p.Package, p.Why),
				"slipway lock resolves again and writes a new lock")
		}
	}
	programs, err := lockPrograms(config)
	if err != nil {
		return nil, err
	}
	if changes := lock.ComparePrograms(l.Programs, programs); len(changes) > 0 {
		return nil, hint.Add(fmt.Errorf("%s: the overlays name other Go programs than the lock: %s", name, changes[0]),
			"slipway lock writes a new lock")
	}
	return l, nil
}

// fetch brings the packages of a lock into the store.
func (s *packageSource) fetch(ctx context.Context, l *lock.Lock) error {
	var missing []archive.Download
	var bytes int64
	for _, d := range l.Downloads() {
		switch st, err := os.Stat(s.store.Path(d.SHA256)); {
		case err != nil || !s.store.Has(d.SHA256):
			missing = append(missing, d)
			bytes += d.Size
		case st.Size() != d.Size:
			return hint.Add(fmt.Errorf("lock: %s: size %d, but the file of this digest has %d bytes",
				d.Name, d.Size, st.Size()), "slipway lock writes a new lock")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	step := s.rep.Step("download")
	defer step.Fail()
	client, err := s.client(func(p archive.Progress) { step.Progress(p.BytesDone, p.Bytes) })
	if err != nil {
		return err
	}
	if err := client.Fetch(ctx, missing); err != nil {
		return err
	}
	step.Done("%d packages, %s", len(missing), megabytes(bytes))
	return nil
}

// unpack gives the packages of a lock, unpacking those that never were, and
// fills in or compares the digests of their maintainer scripts.
func (s *packageSource) unpack(ctx context.Context, l *lock.Lock) ([]*unpack.Package, error) {
	step := s.rep.Step("unpack")
	defer step.Fail()
	requests := make([]unpack.Request, len(l.Packages))
	var mu sync.Mutex
	var opened []store.Sum
	for i, p := range l.Packages {
		requests[i] = unpack.Request{
			Name: p.Name, SHA256: p.SHA256, Size: p.Size,
			Open: func() (io.ReadCloser, error) {
				mu.Lock()
				opened = append(opened, p.SHA256)
				mu.Unlock()
				return s.store.OpenFile(p.SHA256)
			},
		}
	}
	var done int64
	options := &unpack.AllOptions{
		Workers: s.workers,
		Done: func(string) {
			done++
			step.Count(done, int64(len(requests)))
		},
	}
	packages, err := s.unpacked.All(ctx, requests, options)
	if err != nil && ctx.Err() == nil && s.dropDamaged(opened) {
		if err := s.fetch(ctx, l); err != nil {
			return nil, err
		}
		done = 0
		packages, err = s.unpacked.All(ctx, requests, options)
	}
	if err != nil {
		return nil, err
	}
	if err := lockScripts(l, packages); err != nil {
		return nil, err
	}
	step.Done("%d packages", len(packages))
	return packages, nil
}

// dropDamaged removes those files from the store that are not what their
// digest says, and tells whether there were any. A file had the right bytes
// when it got its name: only a failing disk makes it differ.
func (s *packageSource) dropDamaged(sums []store.Sum) bool {
	dropped := false
	for _, sum := range sums {
		if hasSum(s.store.Path(sum), sum) {
			continue
		}
		s.rep.Warn("%s: damaged since it was fetched; fetching it again", s.store.Path(sum))
		dropped = s.store.Remove(sum) == nil || dropped
	}
	return dropped
}

// lockScripts writes the digests of maintainer scripts into a fresh lock. A
// lock that has them already must agree: the digests are of the package that
// the lock itself names, so a difference is damage.
func lockScripts(l *lock.Lock, packages []*unpack.Package) error {
	var problems []error
	for i, p := range packages {
		scripts := map[string]store.Sum{}
		for name, sum := range p.Scripts {
			scripts[name] = sum
		}
		entry := &l.Packages[i]
		if entry.Version != p.Version {
			problems = append(problems, fmt.Errorf("lock: package %q: version %q, but its file holds %q",
				entry.Name, entry.Version, p.Version))
		}
		if len(entry.Scripts) > 0 && !maps.Equal(entry.Scripts, scripts) {
			problems = append(problems, fmt.Errorf("lock: package %q: maintainer scripts differ from the package's",
				entry.Name))
		}
		if len(scripts) > 0 {
			entry.Scripts = scripts
		}
	}
	return hint.Add(errors.Join(problems...), "slipway lock writes a new lock")
}

// lockText is a lock as it stands in files.
func lockText(l *lock.Lock) ([]byte, error) {
	var b bytes.Buffer
	err := l.Write(&b)
	return b.Bytes(), err
}
