package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// do does tasks, which are in order. Stopping can take long and goes on by
// itself; what follows it for the same unit is done in a later pass.
func (a *Agent) do(ctx context.Context, v *registry.View, tasks []Task) {
	left := map[string]bool{} // units with a task that did not work or goes on
	reload := false
	for i, t := range tasks {
		if left[t.Unit] {
			continue
		}
		if reload && t.Action > Load {
			reload = false
			a.reload(ctx, tasks[i:], left)
			if left[t.Unit] {
				continue
			}
		}
		a.Log.Info("unit "+t.Action.String(), "unit", t.Unit, "reason", t.Reason)
		ok := true
		switch t.Action {
		case Unload:
			a.inBackground(ctx, t.Unit, a.unload)
			ok = false
		case Load:
			ok = a.load(ctx, v.Jobs[t.Unit])
			reload = reload || ok
		case Stop:
			a.inBackground(ctx, t.Unit, a.stop)
		case Start:
			ok = a.start(ctx, t.Unit)
		}
		left[t.Unit] = !ok
	}
	if reload {
		a.reload(ctx, nil, left)
	}
}

// reload makes systemd read unit files. If it does not, nothing that follows
// is done.
func (a *Agent) reload(ctx context.Context, rest []Task, left map[string]bool) {
	err := a.Systemd.Reload(ctx)
	if err == nil {
		return
	}
	a.Log.Error("systemd does not reload", "error", err)
	for _, t := range rest {
		left[t.Unit] = true
	}
}

// inBackground does something that takes long. The unit is left alone
// meanwhile.
func (a *Agent) inBackground(ctx context.Context, name string, action func(context.Context, string)) {
	a.mu.Lock()
	a.busy[name] = true
	a.mu.Unlock()
	a.stops.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		action(ctx, name)
		a.mu.Lock()
		delete(a.busy, name)
		a.mu.Unlock()
		wake(a.poke)
	})
}

func (a *Agent) load(ctx context.Context, job *registry.Job) bool {
	f, err := unit.Parse([]byte(job.Text))
	if err == nil {
		err = writeAside(a.unitPath(job.Name), f.Bytes())
	}
	if err == nil {
		err = a.Systemd.Link(ctx, a.unitPath(job.Name), f.Installable())
	}
	if err == nil {
		err = a.change(job.Name, &remembered{UID: job.UID, Hash: job.Hash, State: unit.Loaded})
	}
	if err != nil {
		a.discard(ctx, job.Name)
		a.failed(job.Name, "loaded", err)
		return false
	}
	a.worked(job.Name)
	return true
}

// discard removes what a load left that did not work.
func (a *Agent) discard(ctx context.Context, name string) {
	if err := a.Systemd.Unlink(ctx, name); err != nil {
		a.Log.Warn("unit is not unlinked", "unit", name, "error", err)
	}
	if err := os.Remove(a.unitPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.Warn("unit file is left", "unit", name, "error", err)
	}
}

func (a *Agent) start(ctx context.Context, name string) bool {
	u, _ := a.has(name)
	u.State = unit.Launched
	err := a.Systemd.Start(ctx, name)
	if err == nil {
		err = a.change(name, &u)
	}
	if err != nil {
		a.failed(name, "started", err)
		return false
	}
	a.worked(name)
	return true
}

func (a *Agent) stop(ctx context.Context, name string) {
	err := a.Systemd.Stop(ctx, name)
	if err == nil {
		u, _ := a.has(name) // as it is now: that took long
		u.State = unit.Loaded
		err = a.change(name, &u)
	}
	if err != nil {
		a.failed(name, "stopped", err)
		return
	}
	a.worked(name)
}

// unload removes the file only when the unit has stopped: without it nobody
// could stop the unit any more.
func (a *Agent) unload(ctx context.Context, name string) {
	err := a.Systemd.Stop(ctx, name)
	if err == nil {
		err = a.Systemd.Unlink(ctx, name)
	}
	if err == nil {
		if err = os.Remove(a.unitPath(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = a.Systemd.Reload(ctx)
	}
	if err == nil {
		err = a.change(name, nil)
	}
	if err != nil {
		a.failed(name, "unloaded", err)
		return
	}
	a.worked(name)
}
