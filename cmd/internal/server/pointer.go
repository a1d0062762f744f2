package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"slipway/cmd/internal/release"
	"slipway/signing/key"
)

// seenPointer is what is remembered of a pointer: a mirror that brings back an
// older one is refused, also by a server that was started again.
type seenPointer struct {
	Sequence int64  `json:"sequence"`
	Release  string `json:"release_sha256"`
}

// pointers reads the pointers of channels and believes those only that are
// signed, and not older than what it has seen.
type pointers struct {
	store *store
	keys  func(now time.Time) []key.Key // whose signature counts
	now   func() time.Time

	mu   sync.Mutex
	seen map[string]*seenPointer // by channel
}

func openPointers(s *store, o *Options) (*pointers, error) {
	p := &pointers{store: s, keys: o.Keys, now: o.Now, seen: map[string]*seenPointer{}}
	return p, loadAll(s, pointersBucket, func(channel string, seen *seenPointer) { p.seen[channel] = seen })
}

// read gives the pointer of a channel's directory and the release it names; nil
// is a channel without one, which nobody has seen one of.
func (p *pointers) read(dir string) (*release.Pointer, *release.Info, error) {
	channel := filepath.Base(dir)
	d, err := release.ReadPointer(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if p.last(channel) == nil {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("%s: gone; slipway promote makes it", release.PointerFile)
	}
	if err != nil {
		return nil, nil, err
	}
	var keys []key.Key
	if p.keys != nil {
		keys = p.keys(p.now())
	}
	if _, err := d.Verify(keys); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, release.PointerFile), err)
	}
	info, err := d.Body.ReadNamed(dir)
	if err != nil {
		return nil, nil, err
	}
	return d.Body, info, p.remember(channel, d.Body)
}

func (p *pointers) last(channel string) *seenPointer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[channel]
}

// remember refuses a pointer that is older than the last one, or another one
// with the same number.
func (p *pointers) remember(channel string, now *release.Pointer) error {
	seen := &seenPointer{Sequence: now.Sequence, Release: now.Release}
	switch last := p.last(channel); {
	case last == nil || seen.Sequence > last.Sequence:
	case *seen == *last:
		return nil
	case seen.Sequence == last.Sequence:
		return fmt.Errorf("%s: another pointer was number %d", release.PointerFile, seen.Sequence)
	default:
		return fmt.Errorf("%s: number %d, number %d was there before", release.PointerFile, seen.Sequence, last.Sequence)
	}
	p.mu.Lock()
	p.seen[channel] = seen
	p.mu.Unlock()
	return p.store.put(context.Background(), record{pointersBucket, channel}, seen)
}
