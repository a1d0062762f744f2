// Package engine gives units to machines: it looks at the registry, asks
// package schedule, and writes what was decided. Every machine has an engine;
// one of them, elected by etcd, decides.
//
// An engine that loses the election, etcd or its life leaves everything as it
// is. It cannot stop a unit: it only says where units belong, in transactions
// that hold as long as nobody else was elected and nothing it looked at has
// changed.
package engine

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"time"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
)

// Engine is the engine of a machine.
type Engine struct {
	Registry *registry.Registry
	Mirror   *registry.Mirror
	Presence *registry.Presence
	Machine  string // id
	// Interval is how long the engine waits after an error, and at most before
	// it looks again.
	Interval time.Duration
	// Settle is how long after the making of a registry the engine waits before
	// it decides: machines that run units of the registry before it come first.
	Settle time.Duration
	// Grace is how long the engine waits for a machine that was lost before it
	// gives its units to others. When etcd was in trouble machines are lost that
	// are back in a moment.
	Grace time.Duration
	Now   func() time.Time
	Log   *slog.Logger

	cluster string               // id of the registry that was decided about
	written int64                // revision of the last decision
	waiting map[string]string    // as logged
	lost    map[string]time.Time // when machines with units were first missed
	buried  time.Time
}

const (
	// gather is how long changes are gathered before the engine decides.
	gather = 50 * time.Millisecond
	// tombstoneAge is for how long machines can be away and hear of units that
	// were destroyed meanwhile.
	tombstoneAge = 30 * 24 * time.Hour
	buryInterval = time.Hour
)

// Run decides while this engine leads, until the context ends. Then it leaves
// the lead to another.
func (e *Engine) Run(ctx context.Context) {
	for ctx.Err() == nil {
		view, changed := e.Mirror.View()
		if view != nil {
			e.look(ctx, view)
		}
		e.wait(ctx, changed)
	}
	e.resign()
}

// wait waits for a change, and then a little more.
func (e *Engine) wait(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTimer(e.Interval)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return
	case <-t.C:
		return
	case <-changed:
	}
	pause(ctx, gather)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// look does what a view asks for.
func (e *Engine) look(ctx context.Context, v *registry.View) {
	switch lease := e.Presence.Current(); {
	case v.Cluster == nil || lease == 0:
	case v.Leader == nil:
		pause(ctx, e.turn())
		elected, err := e.Registry.Elect(ctx, e.Machine, lease)
		if err != nil && ctx.Err() == nil {
			e.Log.Warn("engine is not elected", "error", err)
		}
		if elected {
			e.Log.Info("engine leads")
		}
	case v.Leader.MachineID == e.Machine:
		e.lead(ctx, v)
	}
}

// turn is how long this engine lets others go first: that differs by machine,
// so that not all want the lead at once.
func (e *Engine) turn() time.Duration {
	h := fnv.New32a()
	h.Write([]byte(e.Machine))
	return time.Duration(h.Sum32()%200) * time.Millisecond
}

// settling says whether it is too early to decide.
func (e *Engine) settling(v *registry.View) bool {
	age := e.Now().Sub(v.Cluster.Created)
	return age >= 0 && age < e.Settle
}

func (e *Engine) lead(ctx context.Context, v *registry.View) {
	if v.Cluster.ID != e.cluster {
		e.cluster, e.written = v.Cluster.ID, 0
	}
	if v.Revision < e.written || e.settling(v) {
		return
	}
	plan, err := e.plan(ctx, v)
	if err == nil {
		e.tell(plan)
		err = e.write(ctx, v, plan)
	}
	if err != nil && !errors.Is(err, registry.ErrChanged) && ctx.Err() == nil {
		e.Log.Warn("schedule is not written", "error", err)
	}
	if now := e.Now(); now.Sub(e.buried) >= buryInterval && ctx.Err() == nil {
		e.buried = now
		if err := e.Registry.Bury(ctx, v, now, tombstoneAge); err != nil {
			e.Log.Warn("tombstones are kept", "error", err)
		}
	}
}

// plan decides. Units that nobody decided about yet may run somewhere, so the
// machines' reports are asked for before one of them is given away.
func (e *Engine) plan(ctx context.Context, v *registry.View) (*schedule.Plan, error) {
	c := v.Schedule()
	c.Machines = append(c.Machines, e.away(c, v)...)
	plan := schedule.Decide(c)
	if !slices.ContainsFunc(plan.Decisions, func(d schedule.Decision) bool { return d.From == "" }) {
		return plan, nil
	}
	running, err := e.Registry.Running(ctx)
	if err != nil {
		return nil, err
	}
	for i := range c.Jobs {
		if on := running[c.Jobs[i].Name]; len(on) == 1 {
			c.Jobs[i].Runs = on[0]
		}
	}
	return schedule.Decide(c), nil
}

// away gives the machines that have units and were lost a moment ago.
func (e *Engine) away(c *schedule.Cluster, v *registry.View) []schedule.Machine {
	lost := map[string]time.Time{}
	var away []schedule.Machine
	for _, j := range c.Jobs {
		id := j.Target
		if _, seen := lost[id]; seen || id == "" || id == schedule.Nowhere || v.Machines[id] != nil {
			continue
		}
		since, known := e.lost[id]
		if !known {
			since = e.Now()
			e.Log.Warn("machine is lost", "machine", id, "grace", e.Grace)
		}
		lost[id] = since
		if e.Now().Sub(since) < e.Grace {
			away = append(away, schedule.Machine{ID: id, Away: true})
		}
	}
	e.lost = lost
	return away
}

func (e *Engine) write(ctx context.Context, v *registry.View, plan *schedule.Plan) error {
	if len(plan.Decisions) == 0 {
		return nil
	}
	revision, err := e.Registry.SetTargets(ctx, v.Leader, v, plan.Decisions)
	e.written = max(e.written, revision)
	if err != nil {
		return err
	}
	for _, d := range plan.Decisions {
		e.Log.Info("unit scheduled", "unit", d.Unit, "from", d.From, "to", d.To, "reason", d.Reason)
	}
	return nil
}

// tell logs why units wait, once.
func (e *Engine) tell(plan *schedule.Plan) {
	for _, name := range slices.Sorted(maps.Keys(plan.Waiting)) {
		if reason := plan.Waiting[name]; e.waiting[name] != reason {
			e.Log.Warn("unit waits for a machine", "unit", name, "reason", reason)
		}
	}
	e.waiting = plan.Waiting
}

// resign lets another engine lead at once.
func (e *Engine) resign() {
	v, _ := e.Mirror.View()
	if v == nil || v.Leader == nil || v.Leader.MachineID != e.Machine {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := e.Registry.Resign(ctx, v.Leader); err != nil {
		e.Log.Info("another engine leads when the lease is over", "error", err)
	}
}
