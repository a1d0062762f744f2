package server

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slipway/cmd/internal/release"
	"slipway/signing/payload"
)

// contents is everything there is to offer at one moment.
type contents struct {
	channels map[string]*channel
	rules    Rules
}

// channel is a channel and the version it gives.
type channel struct {
	Name    string
	Version string
	Arch    string
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
	root *os.Root
	dir  string
	now  atomic.Pointer[contents]

	mu     sync.Mutex
	seen   string           // what the directory looked like at the last reading
	digest map[string]*file // by path, size and time: hashing takes a second
}

func openCatalog(root *os.Root, dir string) (*catalog, error) {
	c := &catalog{root: root, dir: dir, digest: map[string]*file{}}
	_, err := c.reload()
	return c, err
}

func (c *catalog) get() *contents { return c.now.Load() }

// reload reads the directory again if it looks different. Without an error
// the new state is in force; with one the old stays.
func (c *catalog) reload() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, err := c.look()
	if err != nil || seen == c.seen && c.now.Load() != nil {
		return false, err
	}
	next := &contents{channels: map[string]*channel{}}
	if next.rules, err = readRules(c.root); err != nil {
		return false, err
	}
	names, err := c.channelNames()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		ch, err := c.readChannel(name, next.rules.of(name))
		if err != nil {
			return false, fmt.Errorf("channel %s: %w", name, err)
		}
		next.channels[name] = ch
	}
	c.seen = seen
	c.now.Store(next)
	return true, nil
}

// look sums up what can change: the rules, where channels point, and which
// files there are.
func (c *catalog) look() (string, error) {
	var b strings.Builder
	if st, err := c.root.Stat(rulesFile); err == nil {
		fmt.Fprintln(&b, st.Size(), st.ModTime().UnixNano())
	}
	names, err := c.channelNames()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		current, _ := c.root.Readlink(path.Join(name, "current"))
		fmt.Fprintln(&b, name, current)
		files, err := fs.Glob(c.root.FS(), path.Join(name, "*", "*"))
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if st, err := c.root.Stat(f); err == nil {
				fmt.Fprintln(&b, f, st.Size(), st.ModTime().UnixNano())
			}
		}
	}
	return b.String(), nil
}

// channelNames lists the directories that point to a current release.
func (c *catalog) channelNames() ([]string, error) {
	links, err := fs.Glob(c.root.FS(), "*/current")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, link := range links {
		if name := path.Dir(link); !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, nil
}

// readChannel reads the current release of a channel and its floors.
func (c *catalog) readChannel(name string, rule Rule) (*channel, error) {
	current, err := c.root.Readlink(path.Join(name, "current"))
	if err != nil {
		return nil, err
	}
	dir := path.Join(name, filepath.ToSlash(current))
	info, err := release.Read(filepath.Join(c.dir, filepath.FromSlash(dir)))
	if err != nil {
		return nil, err
	}
	ch := &channel{Name: name, Version: info.Version, Arch: info.Architecture}
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
	ch.Steps = append(ch.Steps, newest)
	return ch, nil
}

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
