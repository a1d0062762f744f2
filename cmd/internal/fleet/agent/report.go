package agent

import (
	"context"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/fleet/registry"
)

// report tells the registry how the units are, whenever that changes.
func (a *Agent) report(ctx context.Context) {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		if err := a.publish(ctx); err != nil && ctx.Err() == nil {
			a.Log.Debug("states are not published", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.Systemd.Changes():
		case <-a.news:
		}
		select { // more may come
		case <-ctx.Done():
			return
		case <-time.After(gather):
		}
	}
}

// publish writes what is not as it was published.
func (a *Agent) publish(ctx context.Context) error {
	lease := a.Presence.Current()
	if lease == 0 {
		return nil
	}
	if err := a.compare(ctx); err != nil {
		return err
	}
	reports, gone, err := a.unpublished(ctx)
	if err != nil || len(reports)+len(gone) == 0 {
		return err
	}
	if err := a.Registry.Publish(ctx, a.Machine, lease, reports, gone); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if clientv3.LeaseID(a.memory.Lease) != lease {
		return nil // all is published again with the new one
	}
	for _, p := range reports {
		a.published[p.Unit] = p
	}
	for _, name := range gone {
		delete(a.published, name)
	}
	return nil
}

// compare finds out what an agent before has published, so that what is not so
// any more is taken back.
func (a *Agent) compare(ctx context.Context) error {
	a.mu.Lock()
	compared := a.compared
	a.mu.Unlock()
	if compared {
		return nil
	}
	running, err := a.Registry.Running(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.compared = true
	for name, machines := range running {
		if slices.Contains(machines, a.Machine) {
			a.published[name] = registry.Report{}
		}
	}
	return nil
}

// unpublished compares what systemd says with what was published.
func (a *Agent) unpublished(ctx context.Context) (reports []registry.Report, gone []string, err error) {
	names := a.Units()
	status, err := a.Systemd.Status(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range names {
		u := a.memory.Units[name]
		if u == nil {
			continue
		}
		s := status[name]
		p := registry.Report{
			Unit: name, Machine: a.Machine, Hash: u.Hash, State: u.State, Load: s.Load, Active: s.Active, Sub: s.Sub,
		}
		if a.published[name] != p {
			reports = append(reports, p)
		}
	}
	for name := range a.published {
		if a.memory.Units[name] == nil {
			gone = append(gone, name)
		}
	}
	return reports, gone, nil
}
