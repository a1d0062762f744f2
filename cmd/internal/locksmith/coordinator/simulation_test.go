package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/updateconf"
)

// fleet is many machines that update by turns, each with its coordinator and its
// own connection to a real etcd, and crash now and then.
type fleet struct {
	t        *testing.T
	endpoint string
	max      int

	mu      sync.Mutex
	random  *rand.Rand
	down    map[string]bool // restarting with the lock's leave, and not healthy since
	most    int
	updated int
	crashes int
	restart int
}

// host is one machine of a fleet.
type host struct {
	*fleet
	id, root string
	version  string
	boots    int
}

const (
	before, after = "1.0.0", "1.0.1"
	hosts         = 50
)

// errCrash ends a life of a host without a word.
var errCrash = errors.New("crash")

func (f *fleet) chance(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(n) == 0
}

func (f *fleet) between(most time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(f.random.Int64N(int64(most)))
}

// goesDown ends a life and counts the hosts that restart by turns.
func (f *fleet) goesDown(id string, end context.CancelCauseFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end(nil)
	f.restart++
	f.down[id] = true
	f.most = max(f.most, len(f.down))
}

// isBack says whether a host lives still, and that it is healthy if it does.
func (f *fleet) isBack(ctx context.Context, id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	delete(f.down, id)
	return true
}

// TestFleet: never more than max restart at once, whatever crashes when, and in
// the end every machine has the new version and nobody the lock.
func TestFleet(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	f := &fleet{
		t: t, endpoint: c.Endpoints()[0], max: 3,
		random: rand.New(rand.NewPCG(1, 2)), down: map[string]bool{},
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	require.NoError(t, err)
	defer etcd.Close()
	store := lock.NewStore(etcd, "")
	require.NoError(t, store.Change(t.Context(), func(v *lock.View) error { v.Max = f.max; return nil }))

	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range hosts {
		h := &host{fleet: f, id: fmt.Sprintf("%032x", i+1), root: t.TempDir(), version: before}
		h.write("etc/machine-id", h.id)
		all.Go(func() { h.live(ctx) })
	}
	all.Wait()
	require.NoError(t, ctx.Err(), "%d of %d updated", f.updated, hosts)
	t.Logf("%d hosts updated in %s with %d restarts and %d crashes, at most %d down at once",
		f.updated, time.Since(begin).Round(100*time.Millisecond), f.restart, f.crashes, f.most)
	assert.LessOrEqual(t, f.most, f.max)
	assert.Equal(t, f.max, f.most, "turns are used")
	assert.GreaterOrEqual(t, f.restart, hosts)
	assert.Positive(t, f.crashes)
	v, err := store.View(t.Context())
	require.NoError(t, err)
	assert.Empty(t, v.Holders())
}

func (h *host) write(name, text string) {
	path := filepath.Join(h.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		h.t.Error(err)
	}
}

// live is the lives of a host until it has the new version and has given the
// lock back.
func (h *host) live(ctx context.Context) {
	for ctx.Err() == nil && !h.boot(ctx) {
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.updated++
}

// boot is one life. It ends with a restart, a crash, or being done.
func (h *host) boot(ctx context.Context) (done bool) {
	h.boots++
	version := h.version
	h.write("proc/sys/kernel/random/boot_id", fmt.Sprintf("boot-%d", h.boots))
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if h.boots < 6 && h.chance(2) { // it crashes at some moment of this life
		die := time.AfterFunc(h.between(time.Second), func() { end(errCrash) })
		defer die.Stop()
	}
	var etcd *clientv3.Client
	restarted := false
	e := &coordinator.Env{
		Stdout: io.Discard, Root: h.root, Now: time.Now, Random: h.between,
		Config: &updateconf.Config{RebootStrategy: "etcd-lock"},
		OpenLock: func(updateconf.Etcd) (coordinator.Lock, func(), error) {
			var err error
			etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{h.endpoint}, Logger: zap.NewNop()})
			// A crash takes the connection away first: nothing is said any more.
			context.AfterFunc(ctx, func() {
				if context.Cause(ctx) == errCrash {
					_ = etcd.Close()
				}
			})
			return crashing{lock.NewStore(etcd, "")}, func() { _ = etcd.Close() }, err
		},
		Tell: func(context.Context, string) int { return 0 },
		Health: func(ctx context.Context, judged func(*health.Report)) error {
			judged(&health.Report{Version: version, Text: "waiting"})
			select {
			case <-time.After(20*time.Millisecond + h.between(100*time.Millisecond)):
			case <-ctx.Done():
			}
			if h.isBack(ctx, h.id) {
				judged(&health.Report{Version: version, Healthy: true, Text: "healthy"})
			}
			<-ctx.Done()
			return ctx.Err()
		},
		Ready: func() {},
		Follow: func(ctx context.Context, listening func(), said func(coordinator.Status)) error {
			listening()
			if version == before {
				said(coordinator.Status{NeedReboot: true, Version: after})
				<-ctx.Done()
				return ctx.Err()
			}
			return h.untilFree(ctx, end)
		},
		Restart: func(context.Context, string) error {
			h.goesDown(h.id, end)
			restarted = true
			return nil
		},
	}
	if err := coordinator.Run(ctx, e); err != nil {
		h.t.Error(err)
	}
	if restarted {
		h.version = after
	}
	if context.Cause(ctx) == errCrash {
		h.mu.Lock()
		h.crashes++
		h.mu.Unlock()
	}
	return context.Cause(ctx) == errDone
}

// errDone ends the last life of a host.
var errDone = errors.New("done")

// untilFree ends the host when it has the lock no more.
func (h *host) untilFree(ctx context.Context, end context.CancelCauseFunc) error {
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{h.endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer etcd.Close()
	s := lock.NewStore(etcd, "")
	for {
		v, err := s.View(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(v.Holders(), h.id) {
			end(errDone)
		}
		if err := s.Wait(ctx, v); err != nil {
			return err
		}
	}
}

// crashing is a lock whose leases are short, for nobody to wait long for them.
type crashing struct{ *lock.Store }

func (c crashing) Attend(ctx context.Context, id string, _ time.Duration, updates <-chan lock.Presence, ready func()) error {
	return c.Store.Attend(ctx, id, time.Second, updates, ready)
}
