// Package lock reads and writes the lock file: every package of an image with
// its version, place, digest and reason, and the signed suites they were
// resolved from. Who has a lock and a mirror that still has the files can build
// the same image again.
//
// It does not resolve or fetch anything. Paths are relative to the root of a
// mirror, whose address is never in a lock.
package lock

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway/build/archive"
	"slipway/build/resolver"
	"slipway/build/store"
)

// Format is the version of the file format that Write writes and Read reads.
const Format = 1

// Lock is the content of a lock file.
type Lock struct {
	Format       int
	Date         time.Time // of the newest suite, UTC, whole seconds
	Architecture string
	Suites       []Suite   // in the overlay's order
	Packages     []Package // by name, then architecture
	Programs     []Program // by path
}

// Suite is the state of a suite that packages were resolved from.
type Suite struct {
	Archive    string // "debian", "debian-security"
	Suite      string
	Components []string
	InRelease  store.Sum // SHA-256 of the signed file
	Date       time.Time // when it was made, UTC
}

// Package is one package, exactly.
type Package struct {
	Name         string
	Version      string
	Architecture string // of the package: maybe "all"
	Archive      string
	Path         string // below the mirror's root
	Size         int64  // bytes
	SHA256       store.Sum
	Why          string // "overlay base", "bash: Pre-Depends libc6"
	// Scripts are the package's maintainer scripts by name ("postinst").
	Scripts map[string]store.Sum
}

// Program is a Go program that is compiled for the image.
type Program struct {
	Path    string // in the image: "usr/bin/etcd"
	Package string // import path
	Version string // of the module that holds it; "" if that is the layer's own
	// Sources is a digest of what it is compiled from: the layer's module,
	// whose go.sum pins all others, and the variables that are set.
	Sources store.Sum
	Why     string // "overlay etcd"
}

// New makes a lock of what was resolved from suites. Scripts are left for the
// caller to fill in, who has the packages.
func New(suites []*archive.Suite, result *resolver.Result) *Lock {
	l := &Lock{Format: Format}
	for _, s := range suites {
		l.Suites = append(l.Suites, Suite{
			Archive: s.Archive, Suite: s.Name, Components: s.Components,
			InRelease: s.Release.SHA256, Date: s.Release.Date,
		})
		if s.Release.Date.After(l.Date) {
			l.Date = s.Release.Date
		}
		l.Architecture = s.Architecture
	}
	for _, p := range result.Packages {
		l.Packages = append(l.Packages, Package{
			Name: p.Name, Version: p.Version, Architecture: p.Architecture,
			Archive: p.Archive, Path: p.Path, Size: p.Size, SHA256: p.SHA256, Why: p.Why,
		})
	}
	l.sort()
	return l
}

func (l *Lock) sort() {
	slices.SortFunc(l.Packages, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	})
}

// Downloads is what archive.Client.Fetch needs to get every package.
func (l *Lock) Downloads() []archive.Download {
	var all []archive.Download
	for _, p := range l.Packages {
		all = append(all, archive.Download{
			Name: p.Name + " " + p.Version, Archive: p.Archive, Path: p.Path, Size: p.Size, SHA256: p.SHA256,
		})
	}
	return all
}

// Package returns the package of that name, nil if the lock has none.
func (l *Lock) Package(name string) *Package {
	i := slices.IndexFunc(l.Packages, func(p Package) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &l.Packages[i]
}

// Version is the image's version for a lock of that date: the days since
// 2013-07-01, CoreOS's day one, then minor and patch number.
func Version(date time.Time, minor, patch int) string {
	return fmt.Sprintf("%d.%d.%d", Major(date), minor, patch)
}

// Major is the number of days from 2013-07-01 to the date, in UTC.
func Major(date time.Time) int {
	epoch := time.Date(2013, time.July, 1, 0, 0, 0, 0, time.UTC)
	return int(date.Sub(epoch) / (24 * time.Hour))
}

// Validate returns everything that is wrong with a lock, joined.
func (l *Lock) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if l.Format != Format {
		bad("format %d: this program reads format %d", l.Format, Format)
	}
	if l.Date.IsZero() {
		bad("date: missing")
	}
	if l.Architecture == "" {
		bad("architecture: missing")
	}
	if len(l.Packages) == 0 {
		bad("packages: none")
	}
	for i, s := range l.Suites {
		if s.Archive == "" || s.Suite == "" || len(s.Components) == 0 || s.Date.IsZero() || s.InRelease == (store.Sum{}) {
			bad("suite %d (%q): archive, suite, components, inrelease and date are needed", i+1, s.Suite)
		}
	}
	last := ""
	for i := range l.Packages {
		p := &l.Packages[i]
		if err := p.validate(l.Architecture); err != nil {
			bad("package %q: %w", p.Name, err)
		}
		if p.Name == last {
			bad("package %q: is there twice", p.Name)
		} else if p.Name < last {
			bad("package %q: stands behind %q, want them sorted by name", p.Name, last)
		}
		last = p.Name
	}
	last = ""
	for _, p := range l.Programs {
		if err := p.validate(); err != nil {
			bad("program %q: %w", p.Path, err)
		}
		if p.Path <= last {
			bad("program %q: stands behind %q, want them sorted by path, each once", p.Path, last)
		}
		last = p.Path
	}
	return errors.Join(errs...)
}

func (p *Program) validate() error {
	switch {
	case !strings.HasPrefix(p.Path, "usr/") || !archive.ValidPath(p.Path):
		return errors.New("path is not below usr/")
	case p.Package == "":
		return errors.New("no package")
	case p.Sources == store.Sum{}:
		return errors.New("no sources")
	}
	return nil
}

func (p *Package) validate(arch string) error {
	switch {
	case p.Name == "":
		return errors.New("no name")
	case p.Version == "":
		return errors.New("no version")
	case p.Architecture != arch && p.Architecture != "all":
		return fmt.Errorf("architecture %q, want %q or \"all\"", p.Architecture, arch)
	case p.Archive == "":
		return errors.New("no archive")
	case !archive.ValidPath(p.Path):
		return fmt.Errorf("path %q does not stay below a mirror's root", p.Path)
	case p.Size <= 0:
		return fmt.Errorf("size %d", p.Size)
	case p.SHA256 == store.Sum{}:
		return errors.New("no sha256")
	}
	return nil
}
