package coordinator

import (
	"context"
	"sync"
	"time"
)

// latest is a value that others wait for to change.
type latest[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // closed at the next change
}

func newLatest[T any]() *latest[T] { return &latest[T]{changed: make(chan struct{})} }

func (l *latest[T]) set(value T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value = value
	close(l.changed)
	l.changed = make(chan struct{})
}

// now is the value.
func (l *latest[T]) now() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value
}

// next is the value, and a channel that is closed when it changes.
func (l *latest[T]) next() (T, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, l.changed
}

// until waits for a value that is enough.
func (l *latest[T]) until(ctx context.Context, enough func(T) bool) (T, error) {
	for {
		value, changed := l.next()
		if enough(value) {
			return value, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return value, ctx.Err()
		}
	}
}

// orChange is a context that also ends when a channel is closed.
func orChange(ctx context.Context, changed <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// pause waits for a time or until ctx ends, which is the error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patience is how long to wait after errors in a row.
type patience time.Duration

// next is longer each time.
func (p *patience) next() time.Duration {
	*p = patience(min(max(2*time.Duration(*p), firstPause), longPause))
	return time.Duration(*p)
}
