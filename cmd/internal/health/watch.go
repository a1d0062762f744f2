package health

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"slipway/cmd/internal/slots"
	"slipway/cmd/internal/updateconf"
)

const (
	firstPause = 2 * time.Second
	longPause  = 10 * time.Second
	// startPause is how long what was started gets before it is started again.
	startPause = 10 * time.Second
)

// watch is the judgement of one boot.
type watch struct {
	*Env
	config *updateconf.Config
	boot   *slots.Boot
	bootID string
	state  *State
	live   live
}

// Watch runs "slipway-host health": it waits until the boot is judged and does
// what follows. It returns the exit code, 0 also for a boot that is not
// healthy: the judgement was reached. A ctx that ends is a shutdown.
func Watch(ctx context.Context, e *Env, settle, timeout time.Duration) int {
	b, err := e.machine().Boot()
	if errors.Is(err, fs.ErrNotExist) {
		e.say("not started from a slot: there is nothing to judge")
		return 0
	}
	if err != nil {
		return e.broken(err)
	}
	w := &watch{Env: e, boot: b, bootID: e.bootID(), config: updateconf.Read(e.root())}
	for _, p := range w.config.Problems {
		e.say("%s", p)
	}
	if settle >= 0 {
		w.config.HealthSettle = settle
	}
	if timeout >= 0 {
		w.config.HealthTimeout = timeout
	}
	if w.state, err = e.loadState(); err != nil {
		e.say("%v", err)
	}
	if err := w.begin(); err != nil {
		return e.broken(err)
	}
	v, err := w.await(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		return e.broken(err)
	case ctx.Err() != nil:
		w.interrupted()
		return 0
	}
	w.enter(v)
	if v.Phase == healthy {
		err = w.succeed()
	} else {
		err = w.fail(ctx, v)
	}
	if err != nil {
		return e.broken(err)
	}
	return 0
}

func (e *Env) broken(err error) int {
	e.say("%v", err)
	return 1
}

// begin looks at the slots, says what became of other versions and notes a
// trial before anything can happen to it.
func (w *watch) begin() error {
	d, err := w.machine().Open(w.boot, false)
	if err != nil {
		return err
	}
	defer d.Close()
	p, err := d.Running(w.boot)
	if err != nil {
		return err
	}
	w.live = live{Trial: !p.Attributes.Successful(), Slots: d.Slots(w.boot)}
	explain(w.state, w.boot, w.live.Slots, w.bootID, w.Now())
	w.announce(w.state, w.boot)
	if w.live.Trial {
		w.state.Trial = w.record("")
		w.say("%s: version %s is on trial (%s)", p.Label, w.boot.Version, p.Attributes)
	}
	w.save()
	return nil
}

// record is this boot.
func (w *watch) record(reason string) *Record {
	return &Record{
		Slot: w.boot.Slot, Version: w.boot.Version, RootHash: w.boot.RootHash,
		Boot: w.bootID, Time: w.Now(), Reason: reason,
	}
}

// save keeps the state. A ROOT that cannot be written is no reason not to go
// on: the partition table is elsewhere.
func (w *watch) save() {
	if err := w.saveState(w.state); err != nil {
		w.say("%v", err)
	}
}

// enter notes what the boot is at, once for each change.
func (w *watch) enter(v verdict) {
	if w.live.Phase == v.Phase && w.live.Reason == v.Reason && w.live.Until == v.Until {
		return
	}
	w.live.Phase, w.live.Reason, w.live.Until, w.live.Time = v.Phase, v.Reason, v.Until, w.Now()
	if err := w.writeLive(&w.live); err != nil {
		w.say("status: %v", err)
	}
	if v.Phase == waiting || v.Phase == settling {
		w.say("%s: %s", v.Phase, v.Reason)
		if t := w.state.Trial; t != nil && t.Reason != v.Reason {
			t.Reason = v.Reason
			w.save()
		}
	}
}

// await asks systemd until the boot is judged.
func (w *watch) await(ctx context.Context) (verdict, error) {
	var units []Unit
	var skipped []string
	pause, started := firstPause, time.Duration(-startPause)
	for {
		var err error
		if units, err = ask(ctx, w.Systemd, units); err != nil {
			// systemd may be busy; it has until the deadline.
			if ctx.Err() != nil || w.Uptime() >= w.config.HealthTimeout {
				return verdict{Phase: unhealthy, Reason: err.Error()}, ctx.Err()
			}
			w.say("%v", err)
			w.Sleep(ctx, longPause)
			continue
		}
		a := assess(units)
		for _, s := range a.Skipped {
			if !slices.Contains(skipped, s) {
				skipped = append(skipped, s)
				w.say("not required: %s", s)
			}
		}
		now := w.Uptime()
		v := judge(a, now, w.config)
		if v.Phase == healthy || v.Phase == unhealthy {
			return v, nil
		}
		w.enter(v)
		if len(a.Start) > 0 && now-started >= startPause {
			started = now
			if err := w.Systemd.Start(ctx, a.Start...); err != nil {
				w.say("%v", err)
			}
		}
		rest := v.Until - now
		if v.Phase == waiting {
			rest = min(rest, pause)
			pause = min(2*pause, longPause)
		}
		w.Sleep(ctx, rest)
		if err := ctx.Err(); err != nil {
			return verdict{}, err
		}
	}
}
