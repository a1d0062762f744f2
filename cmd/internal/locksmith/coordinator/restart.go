package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/locksmith/window"
)

var (
	// errOver says that the window closed.
	errOver = errors.New("the reboot window closed")
	// errDown says that the machine is going down.
	errDown = errors.New("the machine is going down")
)

// coordinate waits until a restart is needed and sees to it, over and over: the
// need can pass.
func (c *coordinator) coordinate(ctx context.Context) error {
	for {
		idle, cancel := context.WithCancel(ctx)
		back := make(chan struct{})
		go func() {
			defer close(back)
			if c.lock != nil {
				_ = c.giveBack(idle)
			}
		}()
		_, err := c.status.until(ctx, func(s Status) bool { return s.NeedReboot })
		cancel()
		<-back
		if err != nil {
			return err
		}
		if err := c.whileNeeded(ctx); err != nil {
			return err
		}
	}
}

// whileNeeded restarts the machine. It returns without an error if that is not
// needed any more.
func (c *coordinator) whileNeeded(ctx context.Context) error {
	status := c.status.now()
	c.say("restart needed%s", into(status.Version))
	c.note(statePlanned)
	needed, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = c.status.until(needed, func(s Status) bool { return !s.NeedReboot || s.Version != status.Version })
		cancel()
	}()
	err := c.restart(needed, status.Version)
	if err == errDown {
		err = fmt.Errorf("the machine did not go down within %s", restartLimit)
		return errors.Join(pause(ctx, restartLimit), err)
	}
	c.letGo(ctx)
	if ctx.Err() == nil && needed.Err() != nil {
		c.say("the update engine has changed its mind")
		c.note(stateRunning)
		return nil
	}
	return err
}

// letGo gives back a lock that the machine took and did not restart with. A ctx
// that has ended is no hindrance.
func (c *coordinator) letGo(ctx context.Context) {
	if c.lock == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	err := c.lock.Change(ctx, func(v *lock.View) error {
		r, _ := v.Holder(c.id)
		if r.Boot != c.boot || r.State != lock.Waiting && r.State != lock.Restarting {
			return lock.ErrNotHolder
		}
		return v.Release(c.id)
	})
	switch err {
	case nil:
		c.say("gave the reboot lock back: not restarting now")
	case lock.ErrNotHolder:
	default:
		c.say("reboot lock: %v", err)
	}
}

func into(version string) string {
	if version == "" {
		return ""
	}
	return " into " + version
}

func (c *coordinator) note(state string) {
	if err := c.conf.set(state); err != nil {
		c.say("%v", err)
	}
}

// restart has the machine go down, which is errDown. It returns nothing but
// errors.
func (c *coordinator) restart(ctx context.Context, version string) error {
	for {
		end, err := c.awaitWindow(ctx)
		if err != nil {
			return err
		}
		open, cancel := ctx, context.CancelFunc(func() {})
		if !end.IsZero() {
			open, cancel = context.WithTimeoutCause(ctx, end.Sub(c.Now()), errOver)
		}
		err = c.restartWithin(open, end, version)
		over := err == errOver || context.Cause(open) == errOver && err != errDown
		cancel()
		if !over {
			return err
		}
		c.letGo(ctx)
		c.say("the reboot window closes before this machine can restart; waiting for the next one")
		if err := pause(ctx, end.Sub(c.Now())); err != nil {
			return err
		}
	}
}

// awaitWindow waits until the machine may restart by itself, and returns when
// that ends; the zero time is never.
func (c *coordinator) awaitWindow(ctx context.Context) (end time.Time, err error) {
	w := c.Config.Reboot.Window
	if w == nil {
		return time.Time{}, nil
	}
	if w.Never() {
		c.say("there is no reboot window in which this machine could restart")
		<-ctx.Done()
		return time.Time{}, ctx.Err()
	}
	said := time.Time{}
	jitter := time.Duration(0)
	for {
		now := c.Now()
		span, _ := w.At(now)
		wait := span.Wait(now)
		if wait > 0 && !span.Start.Equal(said) {
			said, jitter = span.Start, c.Random(windowJitter(span))
			c.say("waiting for the reboot window, %s", span.Start.Format("Mon 2006-01-02 15:04 MST"))
		}
		// Machines with the same window do not all start at its first moment.
		if wait = span.Start.Add(jitter).Sub(now); wait <= 0 {
			return span.End, nil
		}
		if err := pause(ctx, min(wait, longSleep)); err != nil {
			return time.Time{}, err
		}
	}
}

// windowJitter is how much of a window may pass before a machine acts.
func windowJitter(s window.Span) time.Duration { return min(s.End.Sub(s.Start)/4, windowSpread) }

// restartWithin takes the lock, tells people and restarts, as long as ctx lasts,
// which is until end. It returns only with an error, with the lock or without.
func (c *coordinator) restartWithin(ctx context.Context, end time.Time, version string) error {
	r := lock.Record{State: lock.Waiting, Host: c.host, Boot: c.boot, To: version}
	if report := c.health.now(); report != nil {
		r.From = report.Version
	}
	var wait patience
	for {
		if err := c.acquire(ctx, r); err != nil {
			return err
		}
		if err := c.tellPeople(ctx, end); err != nil {
			return err
		}
		err := c.goDown(ctx, end, r)
		if ctx.Err() != nil || err == errOver || err == errDown {
			return err
		}
		d := wait.next()
		c.say("%v; trying again in %s", err, d)
		c.letGo(ctx)
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
}

// tellPeople gives who is logged in some time. What is left of the window bounds
// it; too little is errOver.
func (c *coordinator) tellPeople(ctx context.Context, end time.Time) error {
	delay := loginDelay
	if !end.IsZero() {
		delay = min(delay, end.Sub(c.Now())-time.Second)
	}
	if delay < shortDelay {
		if c.Tell(ctx, "System reboot in the next reboot window!") > 0 {
			return errOver
		}
		return nil
	}
	if c.Tell(ctx, fmt.Sprintf("System reboot in %d minutes!", delay/time.Minute)) == 0 {
		return nil
	}
	c.say("somebody is logged in: restarting in %s", delay.Round(time.Second))
	return pause(ctx, delay)
}

// goDown makes the lock one that outlives the restart, and restarts. It returns
// only with an error.
func (c *coordinator) goDown(ctx context.Context, end time.Time, r lock.Record) error {
	if !end.IsZero() && !c.Now().Before(end) {
		return errOver
	}
	if c.lock != nil {
		r.State = lock.Restarting
		if _, err := c.lock.Lock(ctx, c.id, r, takeNothing); err != nil {
			return fmt.Errorf("reboot lock: %w", err)
		}
	}
	c.note(stateRebooting)
	c.say("restarting%s", into(r.To))
	if err := c.Restart(ctx, c.Config.Reboot.Method); err != nil {
		c.note(statePlanned)
		return fmt.Errorf("restart: %w", err)
	}
	return errDown
}
