package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// page is how many keys are read at once.
const page = 1000

// Load reads the registry. All of it is as of one revision.
func (r *Registry) Load(ctx context.Context) (*View, error) {
	m, revision, _, err := r.load(ctx, func(error) {})
	if err != nil {
		return nil, err
	}
	return m.view(revision), nil
}

// load reads the registry and the id of the etcd it is in. Values that make
// no sense are given to problem.
func (r *Registry) load(ctx context.Context, problem func(error)) (m *model, revision int64, etcd uint64, err error) {
	m = newModel(r.prefix)
	key := r.prefix
	for {
		o := []clientv3.OpOption{clientv3.WithRange(r.end()), clientv3.WithLimit(page)}
		if revision > 0 {
			o = append(o, clientv3.WithRev(revision))
		}
		answer, err := r.get(ctx, "read registry", key, o...)
		if err != nil {
			return nil, 0, 0, err
		}
		if revision == 0 {
			revision, etcd = answer.Header.Revision, answer.Header.ClusterId
		}
		for _, kv := range answer.Kvs {
			if err := m.set(string(kv.Key), kv); err != nil {
				problem(err)
			}
		}
		if !answer.More {
			return m, revision, etcd, nil
		}
		key = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
	}
}

// Mirror is a copy of the registry that follows it. While etcd does not answer
// it stays as it was.
type Mirror struct {
	r     *Registry
	log   *slog.Logger
	doubt chan struct{} // something says that the copy is of another etcd

	mu      sync.Mutex
	model   *model // nil before it was read once
	current *View  // of model; nil when model changed since
	rev     int64
	etcd    uint64
	changed chan struct{} // closed at the next change
}

// NewMirror makes a mirror that is empty until it runs.
func (r *Registry) NewMirror(log *slog.Logger) *Mirror {
	return &Mirror{r: r, log: log, doubt: make(chan struct{}, 1), changed: make(chan struct{})}
}

// View gives the registry, nil if it was never read, and a channel that is
// closed when there is something newer.
func (m *Mirror) View() (*View, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil && m.model != nil {
		m.current = m.model.view(m.rev)
	}
	return m.current, m.changed
}

// Doubt makes the mirror check that it still follows the right etcd.
func (m *Mirror) Doubt() {
	select {
	case m.doubt <- struct{}{}:
	default:
	}
}

// Heard is told what etcd says of itself in answers to others: after it was
// emptied, a watch alone would wait for revisions that never come.
func (m *Mirror) Heard(etcd uint64, revision int64) {
	m.mu.Lock()
	strange := m.model != nil && (etcd != m.etcd || revision < m.rev)
	m.mu.Unlock()
	if strange {
		m.Doubt()
	}
}

// Run follows the registry until the context ends.
func (m *Mirror) Run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		err := m.follow(ctx, func() { pause = firstPause })
		if ctx.Err() != nil {
			return
		}
		m.log.Warn("registry does not answer; everything stays as it is", "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// Pauses between attempts to reach etcd.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// follow reads what there is, unless it is known already, and then watches. It
// ends with an error.
func (m *Mirror) follow(ctx context.Context, working func()) error {
	known, err := m.isCurrent(ctx)
	if err != nil {
		return err
	}
	if !known {
		if err := m.read(ctx); err != nil {
			return err
		}
	}
	working()
	return m.watch(ctx)
}

// isCurrent says whether the copy can be kept up by a watch: it is of this
// etcd, of this registry, and not newer than them.
func (m *Mirror) isCurrent(ctx context.Context) (bool, error) {
	m.mu.Lock()
	model, rev, etcd := m.model, m.rev, m.etcd
	m.mu.Unlock()
	if model == nil || model.cluster == nil {
		return false, nil
	}
	answer, err := m.r.get(ctx, "read registry", m.r.key(clusterKey))
	if err != nil {
		return false, err
	}
	if answer.Header.ClusterId != etcd || answer.Header.Revision < rev || len(answer.Kvs) == 0 {
		return false, nil
	}
	c, err := decode[Cluster](answer.Kvs[0])
	return err == nil && c.ID == model.cluster.ID, nil
}

func (m *Mirror) read(ctx context.Context) error {
	model, rev, etcd, err := m.r.load(ctx, m.complain)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.model, m.rev, m.etcd = model, rev, etcd
	m.announce()
	return nil
}

func (m *Mirror) complain(err error) {
	m.log.Error("registry has a value that makes no sense", "error", err)
}

// announce says that there is something newer. The lock is held.
func (m *Mirror) announce() {
	m.current = nil
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Mirror) watch(ctx context.Context) error {
	// A member that has lost the majority ends the watch instead of being
	// silent.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	m.mu.Lock()
	from := m.rev + 1
	m.mu.Unlock()
	answers := m.r.client.Watch(ctx, m.r.prefix, clientv3.WithRange(m.r.end()), clientv3.WithRev(from))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.doubt:
			if known, err := m.isCurrent(ctx); err != nil || !known {
				m.forget()
				return errors.Join(errors.New("etcd is another than before"), err)
			}
		case answer, ok := <-answers:
			if !ok {
				return errors.New("watch ended")
			}
			if err := answer.Err(); err != nil {
				if errors.Is(err, rpctypes.ErrCompacted) {
					m.forget()
				}
				return fmt.Errorf("watch: %w", err)
			}
			m.apply(answer)
		}
	}
}

// forget makes the next attempt read everything. What was read stays until
// then.
func (m *Mirror) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.etcd, m.rev = 0, 0
}

func (m *Mirror) apply(answer clientv3.WatchResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rev := answer.Header.Revision
	for _, e := range answer.Events {
		// Only what was seen counts: there may be more up to the header's.
		kv := e.Kv
		rev = kv.ModRevision
		if e.Type == clientv3.EventTypeDelete {
			kv = nil
		}
		if err := m.model.set(string(e.Kv.Key), kv); err != nil {
			m.complain(err)
		}
	}
	m.rev = max(m.rev, rev)
	if len(answer.Events) > 0 {
		m.announce()
	}
}
