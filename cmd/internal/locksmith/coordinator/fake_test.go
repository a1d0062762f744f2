package coordinator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/locksmith/window"
	"slipway/cmd/internal/updateconf"
)

// group is a lock without etcd.
type group struct {
	mu      sync.Mutex
	text    []byte
	present map[string]lock.Presence
	change  chan struct{} // closed at the next one
	seen    map[*lock.View]chan struct{}
	down    error // what every request gets
	changes int
}

func newGroup() *group {
	return &group{
		text: []byte(`{"max":1}`), present: map[string]lock.Presence{},
		change: make(chan struct{}), seen: map[*lock.View]chan struct{}{},
	}
}

func (g *group) view() *lock.View {
	s, err := lock.Parse(g.text)
	if err != nil {
		panic(err)
	}
	v := &lock.View{Semaphore: s, Present: map[string]lock.Presence{}}
	for id, p := range g.present {
		v.Present[id] = p
	}
	g.seen[v] = g.change
	return v
}

func (g *group) wake() {
	close(g.change)
	g.change = make(chan struct{})
}

func (g *group) View(context.Context, ...string) (*lock.View, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view(), g.down
}

func (g *group) Change(ctx context.Context, change func(*lock.View) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := errors.Join(ctx.Err(), g.down); err != nil {
		return err
	}
	v := g.view()
	if err := change(v); err != nil {
		return err
	}
	g.text, _ = json.Marshal(v.Semaphore)
	g.changes++
	g.wake()
	return nil
}

func (g *group) Lock(ctx context.Context, id string, r lock.Record, gone func(*lock.View) []string) (taken []string, err error) {
	return taken, g.Change(ctx, func(v *lock.View) error {
		if _, there := v.Present[id]; !there {
			return lock.ErrNotPresent
		}
		taken = gone(v)
		for _, other := range taken {
			_ = v.Unlock(other)
		}
		return v.Semaphore.Lock(id, r)
	})
}

func (g *group) Wait(ctx context.Context, since *lock.View) error {
	g.mu.Lock()
	change := g.seen[since]
	g.mu.Unlock()
	select {
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *group) Attend(ctx context.Context, id string, _ time.Duration, updates <-chan lock.Presence, ready func()) error {
	defer g.setPresent(id, nil)
	for {
		select {
		case p := <-updates:
			if err := g.isDown(); err != nil {
				return err
			}
			g.setPresent(id, &p)
			ready()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *group) setPresent(id string, p *lock.Presence) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if delete(g.present, id); p != nil {
		g.present[id] = *p
	}
	g.wake()
}

// do changes the lock as somebody else.
func (g *group) do(t *testing.T, change func(*lock.View) error) {
	t.Helper()
	require.NoError(t, g.Change(t.Context(), change))
}

func (g *group) isDown() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down
}

func (g *group) presence(id string) lock.Presence {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.present[id]
}

func (g *group) there(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, there := g.present[id]
	return there
}

// changed counts changes.
func (g *group) changed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changes
}

func (g *group) holds(id string) bool {
	v, _ := g.View(context.Background())
	_, held := v.Holder(id)
	return held
}

func (g *group) record(id string) lock.Record {
	v, _ := g.View(context.Background())
	r, _ := v.Holder(id)
	return r
}

// machine is a machine with a coordinator, in a bubble of synctest.
type machine struct {
	*coordinator.Env
	t      *testing.T
	group  *group
	out    safeBuffer
	status chan coordinator.Status
	judged chan *health.Report
	people int // terminals
	etcd   bool
	ready  int
	begin  time.Time
	cancel context.CancelFunc
	done   chan error
	boot   string

	mu       sync.Mutex
	told     []string
	restarts []time.Duration // since the start
	method   string
	fail     error // of restarting
}

// safeBuffer is written by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	me    = "00000000000000000000000000000001"
	other = "00000000000000000000000000000002"
)

func newMachine(t *testing.T, strategy string) *machine {
	m := &machine{t: t, group: newGroup(), begin: time.Now()}
	m.Env = &coordinator.Env{
		Stdout: &m.out, Root: t.TempDir(), Now: time.Now,
		Config: &updateconf.Config{RebootStrategy: strategy, Reboot: updateconf.Reboot{Method: "firmware"}},
		Random: func(time.Duration) time.Duration { return 0 },
		OpenLock: func(updateconf.Etcd) (coordinator.Lock, func(), error) {
			return m.group, func() {}, nil
		},
		EtcdRuns: func(context.Context) bool { return m.etcd },
		Tell: func(_ context.Context, message string) int {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.told = append(m.told, message)
			return m.people
		},
		Restart: func(_ context.Context, method string) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.fail == nil {
				m.restarts, m.method = append(m.restarts, time.Since(m.begin)), method
			}
			return m.fail
		},
	}
	m.file("etc/machine-id", me+"\n")
	m.file("proc/sys/kernel/hostname", "one\n")
	m.newBoot("boot-1")
	return m
}

func (m *machine) file(name, text string) {
	path := filepath.Join(m.Root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o644))
}

// newBoot has the machine start again.
func (m *machine) newBoot(id string) {
	m.boot = id
	m.file("proc/sys/kernel/random/boot_id", id+"\n")
	m.status, m.judged = make(chan coordinator.Status, 9), make(chan *health.Report, 9)
	status, judged := m.status, m.judged
	m.Follow = func(ctx context.Context, listening func(), said func(coordinator.Status)) error {
		listening()
		return feed(ctx, status, said)
	}
	m.Ready = func() { m.ready++ }
	m.Health = func(ctx context.Context, said func(*health.Report)) error { return feed(ctx, judged, said) }
	m.judged <- &health.Report{Version: "1.0.0", Text: "waiting: for units"}
}

func feed[T any](ctx context.Context, from <-chan T, to func(T)) error {
	for {
		select {
		case v := <-from:
			to(v)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *machine) restarted() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.restarts)
}

func (m *machine) restartMethod() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.method
}

func (m *machine) messages() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// refuse has restarts fail.
func (m *machine) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// start runs the coordinator.
func (m *machine) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func() { m.done <- coordinator.Run(ctx, m.Env) }()
	synctest.Wait()
}

// stop ends it as systemd does.
func (m *machine) stop() {
	m.cancel()
	require.NoError(m.t, <-m.done)
}

// after lets time pass.
func (m *machine) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *machine) healthy(version string) {
	m.judged <- &health.Report{Version: version, Healthy: true, Text: "healthy"}
	synctest.Wait()
}

func (m *machine) needsReboot(version string) {
	m.status <- coordinator.Status{NeedReboot: true, Version: version}
	synctest.Wait()
}

func (m *machine) state() string {
	text, err := os.ReadFile(filepath.Join(m.Root, "run/update-engine/coordinator.conf"))
	require.NoError(m.t, err)
	return string(text)
}

// open gives the machine a window that opens after some time.
func (m *machine) open(after, length time.Duration) {
	w, err := window.Parse(m.begin.Add(after).Format("15:04"), length.String())
	require.NoError(m.t, err)
	m.Config.Reboot.Window = w
}

func (m *machine) said(lines ...string) {
	m.t.Helper()
	for _, line := range lines {
		assert.Contains(m.t, m.out.String(), line+"\n")
	}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
