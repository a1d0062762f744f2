// Package archive reads a Debian package archive: it finds a mirror, verifies
// the signed InRelease file of a suite, loads the package index it vouches for
// and fetches packages. Everything but InRelease is known by its SHA-256 before
// it is fetched, is verified while it streams in and lands in a content
// addressed store, so a second run fetches InRelease alone.
//
// It does not decide which packages are needed (package resolver) and does not
// open them (package deb). No mirror's name is written in it; nothing reads the
// clock.
//
// Format: https://wiki.debian.org/DebianRepository/Format
package archive

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/build/store"
)

// Options says how to reach archives and where to keep what comes from them.
type Options struct {
	Mirrors Mirrors
	Store   *store.Store
	// Dir holds what is derived from verified files and the last InRelease
	// files. It is made if needed and may be deleted at any time.
	Dir string
	// Transport speaks http and https; nil is Go's own with the proxy of the
	// environment. URLs of scheme file never reach it.
	Transport http.RoundTripper
	// Jobs is the number of parallel downloads, 8 if zero.
	Jobs int
	// Stall is how long a server may send nothing, 30 seconds if zero.
	Stall time.Duration
	// Backoff is the pause before the first of two more attempts, 1 second if
	// zero; the second pause is four times as long.
	Backoff time.Duration
	// Progress, if set, is told what Fetch and Suite have got so far. It is
	// never called twice at once and must return quickly.
	Progress func(Progress)
}

// Progress counts one call of Fetch or Suite. Bytes are those of the whole
// files, including what had been there before.
type Progress struct {
	Files, FilesDone int
	Bytes, BytesDone int64
}

// Client fetches from the mirrors. It may be used by several goroutines.
type Client struct {
	Options
	http *http.Client
}

// New returns a client. Nothing is fetched yet.
func New(o *Options) *Client {
	c := &Client{Options: *o}
	if c.Jobs == 0 {
		c.Jobs = 8
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	c.http = &http.Client{Transport: transport(c.Transport, c.Jobs), CheckRedirect: checkRedirect}
	return c
}

// SuiteOptions says which suite to open and what to demand of it.
type SuiteOptions struct {
	Archive      string   // name in Mirrors, Debian if empty
	Suite        string   // its suite or code name, such as "trixie-security"
	Components   []string // "main" alone if empty
	Architecture string   // "amd64" if empty
	Keys         *Keys    // whose signature is acceptable
	Now          time.Time
	// AllowExpired accepts a file whose Valid-Until is over and judges keys at
	// the time of the signature: for mirrors of the past.
	AllowExpired bool
}

// Suite is a verified suite and the indexes of its components.
type Suite struct {
	Archive      string
	Name         string // as asked for
	Components   []string
	Architecture string
	Release      *Release
	Indexes      []*Index // one for each component, in that order
}

// Close releases the index files.
func (s *Suite) Close() error {
	var first error
	for _, x := range s.Indexes {
		if err := x.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Suite fetches and verifies a suite's InRelease and loads its indexes, which
// are fetched only if their digest is new. The caller closes the suite.
func (c *Client) Suite(ctx context.Context, o *SuiteOptions) (*Suite, error) {
	s := &Suite{Archive: o.Archive, Name: o.Suite, Components: o.Components, Architecture: o.Architecture}
	if s.Archive == "" {
		s.Archive = Debian
	}
	if len(s.Components) == 0 {
		s.Components = []string{"main"}
	}
	if s.Architecture == "" {
		s.Architecture = "amd64"
	}
	data, keep, err := c.fetchRelease(ctx, s.Archive, o.Suite)
	if err != nil {
		return nil, err
	}
	s.Release, err = VerifyRelease(data, o)
	if err != nil {
		return nil, err
	}
	keep()
	s.Indexes = make([]*Index, len(s.Components))
	group, ctx := errgroup.WithContext(ctx)
	for i, component := range s.Components {
		group.Go(func() error {
			var err error
			s.Indexes[i], err = c.index(ctx, s, component)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// url joins a path in an archive to the mirror's root.
func (c *Client) url(archive, name string) (string, error) {
	base := c.Mirrors[archive]
	if base == "" {
		return "", fmt.Errorf("archive %q: no mirror is known (--mirror %s=URL)", archive, archive)
	}
	if !ValidPath(name) {
		return "", fmt.Errorf("archive %q: bad path %q", archive, name)
	}
	return strings.TrimRight(base, "/") + "/" + escape(name), nil
}

// Suites opens several suites at once, in the order asked for. The caller closes
// each.
func (c *Client) Suites(ctx context.Context, all []*SuiteOptions) ([]*Suite, error) {
	suites := make([]*Suite, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, o := range all {
		group.Go(func() error {
			var err error
			suites[i], err = c.Suite(ctx, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		for _, s := range suites {
			if s != nil {
				s.Close()
			}
		}
		return nil, err
	}
	return suites, nil
}

// ValidPath says whether a path from an index or a lock stays below the mirror.
func ValidPath(name string) bool {
	return name != "" && path.Clean("/"+name) == "/"+name && !strings.ContainsAny(name, "\x00\r\n\\")
}
