package coordinator

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/lock"
)

// attend shows the others that this machine is there, as long as it is.
func (c *coordinator) attend(ctx context.Context) error {
	since := c.Now().UTC()
	var wait patience
	for {
		updates := make(chan lock.Presence)
		part, cancel := context.WithCancel(ctx)
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for {
				r, changed := c.health.next()
				p := lock.Presence{Host: c.host, Boot: c.boot, Since: since}
				if r != nil {
					p.Version, p.Health = r.Version, r.Text
				}
				select {
				case updates <- p:
				case <-part.Done():
					return
				}
				select {
				case <-changed:
				case <-part.Done():
					return
				}
			}
		})
		err := c.lock.Attend(part, c.id, presenceTTL, updates, func() {
			wait = 0
			if !c.there.now() {
				c.there.set(true)
			}
		})
		cancel()
		feeding.Wait()
		c.there.set(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d := wait.next()
		c.say("%v; trying again in %s", err, d)
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
}

// verdict is what follows for a lock that the machine has.
type verdict int

const (
	keep     verdict = iota // for now
	giveBack                // it has served its purpose
	fail                    // the machine is not what it should be
)

// judge looks at a lock that the machine has while no restart is needed: boot is
// this boot's id, report what is known of its health. It is pure; reason says
// what keep waits for, or what is wrong.
func judge(r lock.Record, boot string, report *health.Report) (v verdict, reason string) {
	switch {
	case r.State == lock.Manual && (r.Boot == boot || r.Boot == ""):
		return keep, "a person took it"
	case r.Boot == boot && r.State == lock.Waiting:
		return giveBack, "the restart is called off"
	case r.Boot == boot && r.State == lock.Restarting:
		return keep, "the machine is about to restart"
	case report == nil || !report.Healthy && !report.Unhealthy:
		return keep, "the health of this boot is not known yet"
	case report.Unhealthy:
		return fail, report.Text
	case r.To != "" && r.To != r.From && r.From == report.Version:
		reason = "runs " + r.From + " again instead of " + r.To
		if why := report.Failure(r.To); why != "" {
			reason += ", which failed: " + why
		}
		return fail, reason
	}
	return giveBack, "version " + report.Version + " is healthy"
}

// giveBack watches over a lock that the machine has from before, until it is
// given back or ctx ends.
func (c *coordinator) giveBack(ctx context.Context) error {
	var wait patience
	said := ""
	for {
		report, judged := c.health.next()
		v, err := c.lock.View(ctx)
		var r lock.Record
		held := false
		if err == nil {
			if r, held = v.Holder(c.id); !held {
				return nil
			}
			err = c.settle(ctx, r, report, &said)
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d := wait.next()
			c.say("reboot lock: %v; trying again in %s", err, d)
			if err := pause(ctx, d); err != nil {
				return err
			}
			continue
		}
		wait = 0
		either, cancel := orChange(ctx, judged)
		err = c.lock.Wait(either, v) // whatever comes, all is looked at again
		over := either.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !over:
			_ = pause(ctx, firstPause) // its end shows next
		}
	}
}

// owesPath is there while a machine has the lock that takes no turns by itself:
// a person had it restart by turns.
const owesPath = "var/lib/slipway/reboot-lock"

// Owe notes that the machine is to give the lock back when it is healthy again,
// whatever its strategy.
func Owe(root string) error {
	path := filepath.Join(root, owesPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}

// payDebt gives back the lock that a person had the machine take.
func (c *coordinator) payDebt(ctx context.Context) error {
	path := filepath.Join(c.Root, owesPath)
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	l, done, err := c.OpenLock(c.Config.Reboot.Etcd)
	if err != nil {
		c.say("reboot lock: %v", err)
		return nil // no reason not to restart, which takes no lock
	}
	defer done()
	debtor := *c
	debtor.lock = l
	ctx, cancel := context.WithCancel(ctx)
	var attending sync.WaitGroup
	defer attending.Wait()
	defer cancel()
	attending.Go(func() { _ = debtor.attend(ctx) })
	if err := debtor.giveBack(ctx); err != nil {
		return err
	}
	return os.Remove(path)
}

// settle does what follows for a lock that the machine has.
func (c *coordinator) settle(ctx context.Context, r lock.Record, report *health.Report, said *string) error {
	what, reason := judge(r, c.boot, report)
	switch {
	case what == giveBack:
		err := c.lock.Change(ctx, func(v *lock.View) error { return v.Unlock(c.id) })
		if err == nil || err == lock.ErrNotHolder {
			c.say("gave the reboot lock back: %s", reason)
			return nil
		}
		return err
	case what == fail && (r.State != lock.Failed || r.Reason != reason):
		r.State, r.Reason = lock.Failed, reason
		if err := c.lock.Change(ctx, func(v *lock.View) error { return v.Amend(c.id, r) }); err != nil {
			return err
		}
	}
	if text := "keeping the reboot lock: " + reason; text != *said {
		*said = text
		c.say("%s", text)
		if what == fail {
			c.say("other machines do not follow until \"locksmithctl unlock %s\" or an update that is healthy", c.id)
		}
	}
	return nil
}
