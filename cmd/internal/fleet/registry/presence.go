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

// Presence keeps a machine in the registry: its lease, and its key with it.
// Ending the context does not give the lease up, so that a program that is
// started again within the time to live goes on with it.
type Presence struct {
	Registry *Registry
	Mirror   *Mirror
	Machine  Machine
	// TTL is how long the machine is taken for present without a word of it.
	// It says a word twice in that time.
	TTL time.Duration
	// Lease is one that was held before, 0 if none.
	Lease clientv3.LeaseID
	// NewClusterID makes the id of a registry that has none.
	NewClusterID func() string
	Now          func() time.Time
	// Joined is told of a new lease: what went with the old one is to be said
	// again.
	Joined func(clientv3.LeaseID)
	Log    *slog.Logger

	joined bool // once at least

	mu    sync.Mutex
	lease clientv3.LeaseID // 0 while there is none
}

// Current is the lease, 0 while there is none.
func (p *Presence) Current() clientv3.LeaseID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease
}

func (p *Presence) setLease(id clientv3.LeaseID) {
	p.mu.Lock()
	p.lease = id
	p.mu.Unlock()
	if id != 0 {
		p.Joined(id)
	}
}

// Run keeps the machine present until the context ends, and for the time to
// live after that.
func (p *Presence) Run(ctx context.Context) {
	defer p.lastWord()
	pause, patience := firstPause, p.TTL/20
	for ctx.Err() == nil {
		err := p.join(ctx, patience)
		if err == nil {
			pause, patience = firstPause, p.TTL/20
			err = p.keep(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		p.Log.Warn("machine is not present in the registry", "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, longestPause, p.TTL/4)
		patience = min(2*patience, 2*p.Registry.timeout)
	}
}

// lastWord gives the next program all of the time to live.
func (p *Presence) lastWord() {
	lease := p.Current()
	if lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.renewOnce(ctx, lease); err != nil {
		p.Log.Info("lease is not renewed at the end", "error", err)
	}
}

// renew says a word. A member of etcd that hangs must not take the time for
// others, and one that is slow must be waited for: so one after the other is
// asked, and the first answer counts.
func (p *Presence) renew(ctx context.Context, lease clientv3.LeaseID) error {
	const attempts = 5
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), p.TTL/4)
	defer cancel()
	answers := make(chan error, attempts)
	next := time.NewTicker(p.TTL / 20)
	defer next.Stop()
	var err error
	for asked, answered := 0, 0; answered < attempts; {
		if asked < attempts {
			asked++
			go func() { answers <- p.renewOnce(ctx, lease) }()
		}
		select {
		case err = <-answers:
			if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
			answered++
		case <-next.C:
		}
	}
	return err
}

func (p *Presence) renewOnce(ctx context.Context, lease clientv3.LeaseID) error {
	answer, err := p.Registry.client.KeepAliveOnce(ctx, lease)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	p.Mirror.Heard(answer.ClusterId, answer.Revision)
	return nil
}

// keep renews the lease until that fails for good, or until the machine's key is
// gone. It watches for that: a leader of etcd that was suspended and goes on
// takes leases for expired that were renewed meanwhile, and ends them. The
// machine has to be back before its units are given to others.
func (p *Presence) keep(ctx context.Context) error {
	tick := time.NewTimer(p.TTL / 2)
	defer tick.Stop()
	seen, failing := false, false
	for {
		v, changed := p.Mirror.View()
		here := v != nil && v.Machines[p.Machine.ID] != nil
		if seen && !here {
			return errors.New("machine's key is gone")
		}
		seen = here
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			continue
		case <-tick.C:
		}
		switch err := p.renew(ctx, p.Current()); {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			p.setLease(0)
			p.Mirror.Doubt()
			return err
		case err != nil:
			if !failing {
				p.Log.Warn("etcd does not answer; units are left running", "error", err)
			}
			failing = true
			tick.Reset(p.TTL / 100)
		default:
			failing = false
			tick.Reset(p.TTL / 2)
			if err := p.check(); err != nil {
				return err
			}
		}
	}
}

// check says whether the registry is known to lack this machine. If another
// machine took its place it only complains: both would run the same units, and
// a struggle would not help.
func (p *Presence) check() error {
	v, _ := p.Mirror.View()
	if v == nil {
		return nil
	}
	m := v.Machines[p.Machine.ID]
	switch {
	case v.Cluster == nil || m == nil:
		return errors.New("machine's key is gone")
	case m.lease != int64(p.Current()):
		p.complain(m)
	}
	return nil
}

func (p *Presence) complain(other *Machine) {
	p.Log.Error("another machine has the id of this one", "machine", other.ID, "ip", other.PublicIP)
}

// SetDraining says that this boot of the machine is about to end, or takes it
// back.
func (p *Presence) SetDraining(ctx context.Context, draining bool) error {
	lease := p.Current()
	if lease == 0 {
		return errors.New("machine is not present in the registry")
	}
	key := p.Registry.key(machinesDir, p.Machine.ID, "/draining")
	op := clientv3.OpDelete(key)
	if draining {
		op = clientv3.OpPut(key, p.Machine.Boot, clientv3.WithLease(lease))
	}
	_, err := p.Registry.txn(ctx, "drain machine", nil, op)
	return err
}

// Leave gives the lease up: the machine is away at once.
func (p *Presence) Leave(ctx context.Context) error {
	lease := p.Current()
	if lease == 0 {
		return nil
	}
	ctx, cancel := p.Registry.request(ctx)
	defer cancel()
	_, err := p.Registry.client.Revoke(ctx, lease)
	p.mu.Lock()
	p.lease = 0
	p.mu.Unlock()
	return err
}
