package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"slipway/cmd/internal/release"
	"slipway/signing/payload"
)

// contents is everything there is to offer at one moment.
type contents struct {
	channels map[string]*channel
	rules    Rules
	problems map[string]string // by channel that cannot be read; "" is the rules
}

// channel is a channel and the version it gives.
type channel struct {
	Name    string
	Version string
	Arch    string
	Pointer *release.Pointer // nil: the link "current" counts
	// Steps are the versions that can be offered, oldest first: floors that
	// are still there, and Version.
	Steps []*version
}

// version is what there is to download of one version.
type version struct {
	Version string
	Floor   bool
	Full    *file
	Deltas  map[string]*file // by the version they lead from
}

// file is a payload.
type file struct {
	Path   string // below the directory of releases
	Size   int64
	SHA256 [32]byte
	SHA1   [20]byte
}

// catalog knows the directory of releases.
type catalog struct {
	root     *os.Root
	dir      string
	pointers *pointers
	now      atomic.Pointer[contents]

	mu     sync.Mutex
	seen   string           // what the directory looked like at the last reading
	digest map[string]*file // by path, size and time: hashing takes a second
}

func openCatalog(root *os.Root, dir string, pointers *pointers, log *slog.Logger) (*catalog, error) {
	c := &catalog{root: root, dir: dir, pointers: pointers, digest: map[string]*file{}}
	c.now.Store(&contents{})
	_, err := c.reload()
	if got := c.get(); err != nil && got.problems[""] == "" && len(got.channels) > 0 {
		log.Error("releases not read", "error", err) // the others are served
		err = nil
	}
	return c, err
}

func (c *catalog) get() *contents { return c.now.Load() }

// reload reads the directory again if it looks different. What cannot be read
// stays as it was, and is tried again the next time.
func (c *catalog) reload() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, err := c.look()
	if err != nil || seen == c.seen {
		return false, err
	}
	before := c.get()
	next := &contents{channels: map[string]*channel{}, problems: map[string]string{}}
	var errs []error
	problem := func(channel string, err error) {
		errs = append(errs, err)
		next.problems[channel] = err.Error()
	}
	if next.rules, err = readRules(c.root); err != nil {
		problem("", err)
		next.rules = before.rules
	}
	names, err := c.channelNames()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		ch, err := c.readChannel(name, next.rules.of(name))
		if err != nil {
			problem(name, fmt.Errorf("channel %s: %w", name, err))
			ch = before.channels[name]
		}
		if ch != nil {
			next.channels[name] = ch
		}
	}
	if len(errs) == 0 {
		c.seen = seen
	}
	c.now.Store(next)
	return true, errors.Join(errs...)
}

// look sums up what can change: the rules, where channels point, and which
// files there are.
func (c *catalog) look() (string, error) {
	var b strings.Builder
	names, err := c.channelNames()
	if err != nil {
		return "", err
	}
	watched := []string{rulesFile}
	for _, name := range names {
		current, _ := c.root.Readlink(path.Join(name, "current"))
		fmt.Fprintln(&b, name, current)
		files, err := fs.Glob(c.root.FS(), path.Join(name, "*", "*"))
		if err != nil {
			return "", err
		}
		watched = append(append(watched, path.Join(name, release.PointerFile)), files...)
	}
	for _, f := range watched {
		if st, err := c.root.Stat(f); err == nil {
			fmt.Fprintln(&b, f, st.Size(), st.ModTime().UnixNano())
		}
	}
	return b.String(), nil
}

// channelNames lists the directories that point to a release.
func (c *catalog) channelNames() ([]string, error) {
	var names []string
	for _, pattern := range []string{"*/current", "*/" + release.PointerFile} {
		found, err := fs.Glob(c.root.FS(), pattern)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if name := path.Dir(f); !strings.HasPrefix(name, ".") && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// readChannel reads the release a channel gives, and its floors.
func (c *catalog) readChannel(name string, rule Rule) (*channel, error) {
	pointer, info, err := c.pointers.read(filepath.Join(c.dir, name))
	if err != nil {
		return nil, err
	}
	var dir string
	if pointer != nil {
		dir = path.Join(name, pointer.Version)
	} else if dir, info, err = c.current(name); err != nil {
		return nil, err
	}
	ch := &channel{Name: name, Version: info.Version, Arch: info.Architecture, Pointer: pointer}
	for _, floor := range rule.Floors {
		if order, err := payload.CompareVersions(floor, info.Version); err != nil || order >= 0 {
			continue // the newest is no step on the way to itself
		}
		v, err := c.readVersion(path.Join(name, floor), floor)
		if err != nil {
			return nil, fmt.Errorf("floor %s: %w", floor, err)
		}
		if v.Full == nil {
			return nil, fmt.Errorf("floor %s: no payload: build or fetch that release", floor)
		}
		v.Floor = true
		ch.Steps = append(ch.Steps, v)
	}
	newest, err := c.readVersion(dir, info.Version)
	if err != nil {
		return nil, err
	}
	if err := newest.check(info); err != nil {
		return nil, err
	}
	ch.Steps = append(ch.Steps, newest)
	return ch, nil
}

// current reads the release that the link of a channel leads to.
func (c *catalog) current(name string) (dir string, info *release.Info, err error) {
	link, err := c.root.Readlink(path.Join(name, "current"))
	if err != nil {
		return "", nil, err
	}
	dir = path.Join(name, filepath.ToSlash(link))
	info, err = release.Read(filepath.Join(c.dir, filepath.FromSlash(dir)))
	return dir, info, err
}

// check compares the full payload with the release.json that lists it: one
// half copied would be offered otherwise.
func (v *version) check(info *release.Info) error {
	for _, e := range info.Files {
		switch {
		case e.Name != release.Payload:
		case v.Full == nil:
			return fmt.Errorf("%s: not there, %s lists it", e.Name, release.Manifest)
		case e.SHA256 != hex.EncodeToString(v.Full.SHA256[:]):
			return fmt.Errorf("%s: digest %.16x, %s says %.16s", v.Full.Path, v.Full.SHA256, release.Manifest, e.SHA256)
		}
	}
	return nil
}
