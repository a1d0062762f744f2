package coordinator

import (
	"context"
	"errors"
	"time"

	"slipway/cmd/internal/locksmith/lock"
)

func takeNothing(*lock.View) []string { return nil }

// acquire waits for the lock. It returns an error only if ctx ends.
func (c *coordinator) acquire(ctx context.Context, r lock.Record) error {
	if c.lock == nil {
		return nil
	}
	var wait patience
	a := absent{now: c.Now, timeout: c.Config.Reboot.HolderTimeout, since: map[string]time.Time{}}
	for {
		if _, err := c.there.until(ctx, func(there bool) bool { return there }); err != nil {
			return err
		}
		r.Since = c.Now().UTC()
		taken, err := c.lock.Lock(ctx, c.id, r, a.gone)
		for _, id := range taken {
			if err == nil {
				c.say("took the reboot lock from %s, which is gone", id)
			}
		}
		if err == nil {
			c.say("took the reboot lock")
			c.heldBy = ""
			return nil
		}
		if err := c.waitTurn(ctx, err, r, &a, &wait); err != nil {
			return err
		}
	}
}

// waitTurn waits until the lock is worth another attempt after an error.
func (c *coordinator) waitTurn(
	ctx context.Context, why error, r lock.Record, a *absent, wait *patience,
) error {
	_, full := errors.AsType[*lock.FullError](why)
	_, halted := errors.AsType[*lock.HaltedError](why)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case halted:
		c.letGo(ctx)
		fallthrough
	case full:
		*wait = 0
		return c.waitChange(ctx, r, a)
	case errors.Is(why, lock.ErrNotPresent):
		return pause(ctx, firstPause) // its lease has ended, and attend does not know yet
	}
	d := wait.next()
	c.say("reboot lock: %v; trying again in %s", why, d)
	return pause(ctx, d)
}

// waitChange waits until the lock can be had, or something about it changes, or
// somebody who has it has been gone for long enough.
func (c *coordinator) waitChange(ctx context.Context, r lock.Record, a *absent) error {
	v, err := c.lock.View(ctx)
	if err != nil {
		return pause(ctx, firstPause)
	}
	if len(a.gone(v)) > 0 {
		return nil
	}
	text := holders(v)
	why := v.Semaphore.Lock(c.id, r)
	if why == nil {
		return nil
	}
	if text = why.Error() + text; text != c.heldBy {
		c.heldBy = text
		c.say("waiting for the reboot lock: %s", text)
	}
	until, cancel := context.WithCancel(ctx)
	if d := a.next(); d > 0 {
		until, cancel = context.WithTimeout(ctx, d)
	}
	defer cancel()
	err = c.lock.Wait(until, v)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && until.Err() == nil:
		return pause(ctx, firstPause)
	}
	return pause(ctx, c.Random(spread)) // others wait for the same
}

// holders are those who have the lock, for people.
func holders(v *lock.View) string {
	text := ""
	for i, id := range v.Holders() {
		r, _ := v.Holder(id)
		if text += ", "; i == 0 {
			text = "; held by "
		}
		if text += id; r.Host != "" {
			text += " (" + r.Host + ")"
		}
		if !r.Since.IsZero() {
			text += " since " + r.Since.UTC().Format(time.RFC3339)
		}
		if _, there := v.Present[id]; !there {
			text += ", not reachable"
		}
		if r.State == lock.Failed {
			text += ", " + r.Reason
		}
	}
	return text
}

// absent remembers since when holders that went down are not there, by this
// machine's own clock: it is no matter of seconds, and clocks differ.
type absent struct {
	now     func() time.Time
	timeout time.Duration
	since   map[string]time.Time
}

// gone lists those whose lock may be taken away.
func (a *absent) gone(v *lock.View) []string {
	since := map[string]time.Time{}
	for _, id := range v.Holders() {
		r, _ := v.Holder(id)
		if _, there := v.Present[id]; !there && r.State == lock.Restarting {
			since[id] = a.now()
			if before, known := a.since[id]; known {
				since[id] = before
			}
		}
	}
	a.since = since
	return v.Gone(a.timeout, func(id string) time.Duration { return a.now().Sub(since[id]) })
}

// next is how long until the next of them has been gone for long enough, 0 if
// nobody will be.
func (a *absent) next() time.Duration {
	least := time.Duration(0)
	if a.timeout == 0 {
		return 0
	}
	for _, since := range a.since {
		if d := max(a.timeout-a.now().Sub(since), time.Second); least == 0 || d < least {
			least = d
		}
	}
	return least
}
