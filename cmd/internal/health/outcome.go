package health

import (
	"context"
	"errors"
	"time"

	"slipway/cmd/internal/slots"
	"slipway/partitions"
)

// interrupted notes that a trial ends because somebody restarts the machine.
// The version gets its try back, once: whoever restarts a machine soon after
// an update does not mean to undo it, and a version that restarts the machine
// by itself must not do so for ever.
func (w *watch) interrupted() {
	w.say("stopped before this boot was judged")
	if w.state.Trial == nil {
		return
	}
	w.state.Trial.Ended = true
	again := w.state.Returned != w.boot.RootHash
	w.state.Returned = w.boot.RootHash
	w.save()
	if !again {
		return
	}
	if err := w.returnTry(); err != nil {
		w.say("%v", err)
		return
	}
	w.say("%s: version %s gets its try back, once", w.boot.Slot, w.boot.Version)
}

func (w *watch) returnTry() error {
	d, err := w.machine().Open(w.boot, true)
	if err != nil {
		return err
	}
	defer d.Close()
	p, err := d.Running(w.boot)
	if err != nil || p.Attributes.Successful() {
		return err
	}
	return partitions.SetAttributes(d, d.Table, p.Number, p.Attributes.WithTries(p.Attributes.Tries()+1))
}

// succeed does what follows for a healthy boot.
func (w *watch) succeed() error {
	d, p, err := w.openForSuccess()
	if err != nil {
		return err
	}
	defer d.Close()
	if want := proven(p); want != p.Attributes {
		if err := partitions.SetAttributes(d, d.Table, p.Number, want); err != nil {
			return err
		}
		w.say("%s: version %s is healthy after %s and proven now (%s)", p.Label, w.boot.Version,
			w.Uptime().Round(time.Second), want)
	} else {
		w.say("%s: version %s is healthy after %s", p.Label, w.boot.Version, w.Uptime().Round(time.Second))
	}
	w.state.Trial, w.state.Healthy = nil, w.record("")
	w.state.forget(w.boot.Slot)
	w.save()
	w.writeMotd(w.state)
	w.mend(d)
	w.refresh(d)
	w.live.Slots = d.Slots(w.boot)
	return w.writeLive(&w.live)
}

// proven are the attributes of a slot whose version is healthy.
func proven(p partitions.Partition) partitions.Attributes {
	return p.Attributes.WithSuccessful(true).WithTries(0)
}

// openForSuccess opens the disk and finds the running slot; for writing only if
// there is something to write, for udev looks through a disk again whenever
// somebody had it open like that.
func (w *watch) openForSuccess() (*slots.Drive, partitions.Partition, error) {
	write := false
	for {
		d, err := w.machine().Open(w.boot, write)
		if err != nil {
			return nil, partitions.Partition{}, err
		}
		p, err := d.Running(w.boot)
		if err == nil && (write || proven(p) == p.Attributes && !d.Table.Damaged()) {
			return d, p, nil
		}
		write, err = true, errors.Join(err, d.Close())
		if err != nil {
			return nil, p, err
		}
	}
}

// problem keeps what went wrong on the way for the status.
func (w *watch) problem(what string, err error) {
	w.say("%s: %v", what, err)
	w.live.Problems = append(w.live.Problems, what+": "+err.Error())
}

// fail does what follows for a boot that is not healthy.
func (w *watch) fail(ctx context.Context, v verdict) error {
	if !w.live.Trial {
		w.say("%s: version %s is not healthy: %s; it is proven, so nothing follows", w.boot.Slot, w.boot.Version, v.Reason)
		return nil
	}
	w.state.Trial = nil
	w.state.fail(*w.record(v.Reason))
	w.save()
	w.writeMotd(w.state)
	w.shout("version %s in %s is not healthy: %s", w.boot.Version, w.boot.Slot, v.Reason)
	if stay, err := w.lastOne(); err != nil || stay {
		return err
	}
	w.shout("restarting")
	return w.restart(ctx)
}

// lastOne says whether a restart would find no slot to start. Then the running
// one gets a try back: a sick machine is better than a dead one.
func (w *watch) lastOne() (bool, error) {
	d, err := w.machine().Open(w.boot, true)
	if err != nil {
		return false, err
	}
	defer d.Close()
	p, err := d.Running(w.boot)
	if err != nil {
		return false, err
	}
	if _, ok := partitions.Next(d.Table); ok {
		return false, nil
	}
	w.shout("there is no other version to start: staying, and keeping a try for the next start")
	a := p.Attributes.WithTries(1).WithPriority(max(p.Attributes.Priority(), 1))
	return true, partitions.SetAttributes(d, d.Table, p.Number, a)
}

// restart does not return before the machine goes down, or ctx ends with it.
func (w *watch) restart(ctx context.Context) error {
	const orderly = 2 * time.Minute // for services to stop
	var errs []error
	for force := range 3 {
		if err := w.Systemd.Reboot(ctx, force); err != nil && ctx.Err() == nil {
			errs = append(errs, err)
			w.say("%v", err)
		}
		w.Sleep(ctx, orderly)
		if ctx.Err() != nil {
			return nil
		}
	}
	return errors.Join(append(errs, errors.New("the machine does not restart"))...)
}
