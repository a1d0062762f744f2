package updateengine

import (
	"context"
	"errors"
	"time"

	"slipway/cmd/internal/install"
	"slipway/cmd/internal/updatebus"
	"slipway/signing/omaha"
)

// The schedule, after CoreOS's update_check_scheduler.cc: no two machines that
// were started together ask together.
const (
	firstCheck   = 7 * time.Minute
	firstFuzz    = 10 * time.Minute // in all: from 2 to 12 minutes
	periodic     = time.Hour
	periodicFuzz = 10 * time.Minute
	// soon is when there is something to report, or to wait for.
	soon     = time.Minute
	soonFuzz = 20 * time.Second
	// A server that does not answer is asked again after retryFirst, twice as
	// long each time, at most retryLast.
	retryFirst = 10 * time.Minute
	retryLast  = 4 * time.Hour
	// A server can ask for longer or shorter intervals, within limits.
	pollShortest = 45 * time.Minute
	pollLongest  = 24 * time.Hour
)

// Run works until the context ends.
func (g *Engine) Run(ctx context.Context) error {
	wait := fuzz(firstCheck, firstFuzz, g.Random())
	if i := g.state.Installed; i != nil && i.Boot != g.host.bootID || len(g.state.Events) > 0 {
		wait = fuzz(soon, soonFuzz, g.Random())
	}
	disabled, failures := false, 0
	for {
		forced := g.await(ctx, wait)
		if ctx.Err() != nil {
			return nil
		}
		r := g.attempt(ctx, forced)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(r.err, errDisabled):
			if !disabled {
				g.say("there is no SERVER in /etc/coreos/update.conf: not asking for updates")
			}
			failures = 0
		case r.err != nil:
			failures++
		default:
			failures = 0
		}
		disabled = errors.Is(r.err, errDisabled)
		wait = next(r, failures, g.Random())
	}
}

// await waits until it is time, or somebody asks; then it says so.
func (g *Engine) await(ctx context.Context, d time.Duration) (forced bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// next is how long to wait after an attempt, the failures-th in a row that
// failed if it did.
func next(r result, failures int, random float64) time.Duration {
	switch {
	case r.soon:
		return fuzz(soon, soonFuzz, random)
	case unanswered(r.err):
		d := retryLast
		if failures <= 8 {
			d = min(retryFirst<<(failures-1), retryLast)
		}
		if e, ok := errors.AsType[*serverError](r.err); ok {
			d = max(d, e.retryAfter)
		}
		return fuzz(d, d/5, random)
	case r.poll > 0:
		d := min(max(r.poll, pollShortest), pollLongest)
		return fuzz(d, periodicFuzz, random)
	}
	return fuzz(periodic, periodicFuzz, random)
}

// unanswered says whether an error is the server's or the network's, and not
// the answer that an update got.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, errDisabled) || errors.Is(err, install.ErrOnTrial) {
		return false
	}
	_, updated := errors.AsType[*omaha.StatusError](err)
	return !updated
}

// fuzz spreads a time over a span around it.
func fuzz(d, span time.Duration, random float64) time.Duration {
	return d + time.Duration((random-0.5)*float64(span))
}

// ResetStatus forgets a version that waits for a restart: it is not started any
// more. It is an error if none does.
func (g *Engine) ResetStatus() error {
	if g.Status().Operation != updatebus.NeedReboot {
		return errors.New("no update waits for a reboot")
	}
	if !g.work.TryLock() {
		return errors.New("the engine is at work: try again")
	}
	defer g.work.Unlock()
	slot, err := install.Open(g.Machine, g.boot)
	if err != nil {
		return err
	}
	defer slot.Close()
	if err := slot.Bar(); err != nil {
		return err
	}
	g.say("version %s is not started any more: somebody reset the status", g.Status().NewVersion)
	g.state.Installed = nil
	g.save()
	g.rest()
	return nil
}
