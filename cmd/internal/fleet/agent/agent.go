// Package agent runs the units of one machine: it makes systemd load, start
// and stop what the registry says, and reports what became of it.
//
// A unit is left alone unless the registry says otherwise in so many words: by
// a target elsewhere, a state, another file, or a tombstone (see package
// registry). What is missing from the registry stops nothing. While etcd does
// not answer, nothing happens at all. What the agent has done is kept in
// /run, as long as the units themselves last: an agent that is started again
// takes up the units that run, and starts none of them anew.
//
// What to do is decided by the function plan; systemd is behind an interface.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// Status is what systemd says of a unit.
type Status struct {
	Load, Active, Sub string // as "systemctl list-units" shows them
}

// Systemd is the service manager as far as the agent needs it. The methods can
// be called from several goroutines.
type Systemd interface {
	// Status says how units are. Units that systemd does not know are
	// "not-found", "inactive", "dead".
	Status(ctx context.Context, names []string) (map[string]Status, error)
	// Link makes a unit file outside systemd's directories known, and enables
	// the unit if it has an [Install] section. It counts after a Reload.
	Link(ctx context.Context, path string, enable bool) error
	// Unlink undoes Link and forgets that the unit failed. A unit that is not
	// linked is no error.
	Unlink(ctx context.Context, name string) error
	Reload(ctx context.Context) error
	// Start begins to start a unit and does not wait for the outcome.
	Start(ctx context.Context, name string) error
	// Stop stops a unit and returns when it has stopped. One that does not
	// exist is stopped.
	Stop(ctx context.Context, name string) error
	// Changes tells of units that are not any more as they were. What is not
	// fetched in time can be lost.
	Changes() <-chan string
}

// Agent is the agent of a machine.
type Agent struct {
	Machine  string // id
	UnitsDir string // "/run/fleet/units"; the agent's memory is beside it
	Systemd  Systemd
	Registry *registry.Registry
	Mirror   *registry.Mirror
	Presence *registry.Presence
	Now      func() time.Time
	Log      *slog.Logger

	poke  chan struct{} // there may be something to do
	news  chan struct{} // there may be something to report
	stops sync.WaitGroup

	mu     sync.Mutex
	memory *memory
	busy   map[string]bool  // units that are being stopped
	again  map[string]retry // units that could not be loaded, started or stopped
	told   map[string]bool  // units that were logged as held
	// handover are units that another machine has and reports as running.
	handover map[string]bool

	published map[string]registry.Report
	// compared says that what was published before this agent is known.
	compared bool
}

// retry is when to try again.
type retry struct {
	at    time.Time
	pause time.Duration
}

const (
	// recheck is how often the agent looks at systemd without being told to.
	recheck = 5 * time.Second
	// gather is how long news of systemd are gathered before they are reported.
	gather = 300 * time.Millisecond
	// stopTimeout bounds a stop; systemd's own default is 90 s.
	stopTimeout = 15 * time.Minute

	firstRetry   = time.Second
	longestRetry = time.Minute
)

// Open takes up what an agent before had. It is to be called before Run; the
// registry and its mirror can be set in between.
func (a *Agent) Open(ctx context.Context) error {
	a.poke, a.news = make(chan struct{}, 1), make(chan struct{}, 1)
	a.busy, a.again, a.told = map[string]bool{}, map[string]retry{}, map[string]bool{}
	a.handover, a.published = map[string]bool{}, map[string]registry.Report{}
	m, err := a.recall(ctx)
	if err != nil {
		return err
	}
	a.memory = m
	if len(m.Units) > 0 {
		a.Log.Info("units taken up", "units", len(m.Units))
	}
	return nil
}

// Lease is the lease of the agent before, 0 if there was none.
func (a *Agent) Lease() int64 { return a.memory.Lease }

// Joined is called with each new lease of the machine.
func (a *Agent) Joined(lease int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.memory.Lease != lease {
		a.memory.Lease = lease
		a.save()
	}
	clear(a.published)
	a.compared = false
	wake(a.news)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run follows the registry and systemd until the context ends. It stops no
// unit then.
func (a *Agent) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.report(ctx) })
	defer wg.Wait()
	defer a.stops.Wait()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		view, changed := a.Mirror.View()
		if view != nil && view.Cluster != nil {
			a.pass(ctx, view)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-a.poke:
		case <-tick.C:
		}
	}
}

// pass makes the machine as a view wants it.
func (a *Agent) pass(ctx context.Context, v *registry.View) {
	a.mu.Lock()
	changed := a.adopt(v)
	tasks, holds := plan(a.inventory(), v, a.Machine)
	a.logHeld(holds)
	tasks = slices.DeleteFunc(tasks, func(t Task) bool {
		return a.busy[t.Unit] || a.Now().Before(a.again[t.Unit].at)
	})
	if changed {
		a.save()
	}
	a.mu.Unlock()
	if len(holds) > 0 {
		a.askHandovers(ctx, v, holds)
	}
	if len(tasks) > 0 {
		a.do(ctx, v, tasks)
		wake(a.poke)
	}
}

// failed notes that something did not work and when to try it again.
func (a *Agent) failed(name string, what string, err error) {
	a.mu.Lock()
	r := a.again[name]
	r.pause = min(max(2*r.pause, firstRetry), longestRetry)
	r.at = a.Now().Add(r.pause)
	a.again[name] = r
	a.mu.Unlock()
	a.Log.Error("unit is not "+what, "unit", name, "error", err, "again", r.pause)
}

func (a *Agent) worked(name string) {
	a.mu.Lock()
	delete(a.again, name)
	a.mu.Unlock()
}

// Units lists the units the machine has, in byte order.
func (a *Agent) Units() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.memory.Units))
}

// change changes what is remembered of a unit, nil to forget it, and keeps it.
func (a *Agent) change(name string, u *remembered) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u == nil {
		delete(a.memory.Units, name)
		delete(a.handover, name)
	} else {
		a.memory.Units[name] = u
	}
	if err := a.save(); err != nil {
		return fmt.Errorf("remember unit: %w", err)
	}
	wake(a.news)
	return nil
}

func (a *Agent) has(name string) (remembered, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.memory.Units[name]; u != nil {
		return *u, true
	}
	return remembered{State: unit.Inactive}, false
}
