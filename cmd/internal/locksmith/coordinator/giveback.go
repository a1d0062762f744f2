package coordinator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/lock"
)

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
	said, begin := "", c.Now()
	for {
		left := restartLimit - c.Now().Sub(begin)
		report, judged := c.health.next()
		v, err := c.lock.View(ctx)
		if err == nil {
			r, held := v.Holder(c.id)
			if !held {
				return nil
			}
			err = c.settle(ctx, r, report, left <= 0, &said)
		}
		if err == nil {
			wait = 0
			err = c.waitNews(ctx, v, judged, left) // whatever comes, all is looked at again
		} else if ctx.Err() == nil {
			d := wait.next()
			c.say("reboot lock: %v; trying again in %s", err, d)
			err = pause(ctx, d)
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// waitNews waits until the lock changes or what is known of the health, or until
// a limit, if that is more than 0.
func (c *coordinator) waitNews(ctx context.Context, v *lock.View, judged <-chan struct{}, limit time.Duration) error {
	either, cancel := orChange(ctx, judged)
	defer cancel()
	if limit > 0 {
		defer time.AfterFunc(limit, cancel).Stop()
	}
	if err := c.lock.Wait(either, v); err != nil && either.Err() == nil {
		return pause(ctx, firstPause)
	}
	return ctx.Err()
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

// settle does what follows for a lock that the machine has. stayed says that it
// had the time to restart and did not.
func (c *coordinator) settle(
	ctx context.Context, r lock.Record, report *health.Report, stayed bool, said *string,
) error {
	what, reason := judge(r, c.boot, report)
	if stayed && r.Boot == c.boot && r.State == lock.Restarting {
		what, reason = giveBack, fmt.Sprintf("the machine did not restart within %s", restartLimit)
	}
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
