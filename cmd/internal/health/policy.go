package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway/cmd/internal/updateconf"
)

const (
	// target is the point of a boot that must be reached; what it requires is
	// the policy.
	target = "boot-complete.target"
	// emergency is where systemd ends when the boot cannot go on.
	emergency = "emergency.target"
)

// assessment is how far a boot has come.
type assessment struct {
	// Failed and Pending say of units why the boot is not complete, for good
	// or as yet; both are in the order of the units' names.
	Failed, Pending []string
	// Skipped are required units that are not asked for, and why.
	Skipped []string
	// Since is when the last of all became what it has to be.
	Since time.Duration
	// Last names the required unit that came last.
	Last string

	last time.Duration
	// Start are units to start: nobody else will.
	Start []string
}

// policyUnits are the units to ask about, given the ones asked about before.
func policyUnits(units []Unit) []string {
	names := []string{target, emergency}
	for _, u := range units {
		if u.ID == target {
			names = append(names, u.Requires...)
		}
	}
	slices.Sort(names[2:])
	return slices.Compact(names)
}

// ask gets the units of the policy. Mostly that is one question, for known has
// the names already.
func ask(ctx context.Context, s Systemd, known []Unit) ([]Unit, error) {
	for {
		names := policyUnits(known)
		units, err := s.Units(ctx, names...)
		if err != nil || slices.Equal(names, policyUnits(units)) {
			return units, err
		}
		known = units
	}
}

// assess judges the units of the policy. It is pure.
func assess(units []Unit) assessment {
	var a assessment
	var blocked bool
	var goal Unit
	for _, u := range units {
		switch u.ID {
		case target:
			goal = u
		case emergency:
			if u.ActiveState == "active" || u.ActiveState == "activating" {
				a.Failed = append(a.Failed, "the system is in emergency mode")
			}
		default:
			if u.LoadState == "masked" {
				blocked = true
			}
			a.add(u)
		}
	}
	if goal.ActiveState == "active" {
		a.Since = max(a.Since, goal.Entered)
		return a
	}
	// Where a required unit is masked systemd does not start the target; then
	// the others are what counts.
	switch idle := goal.ActiveState == "inactive" && !goal.Queued; {
	case blocked:
	case idle && (goal.Entered == 0 || len(a.Pending) == 0):
		a.Start = []string{target}
		fallthrough
	default:
		if len(a.Pending) == 0 && len(a.Failed) == 0 {
			a.Pending = append(a.Pending, target+" is "+goal.ActiveState)
		}
	}
	return a
}

// add judges one required unit.
func (a *assessment) add(u Unit) {
	name := u.ID
	switch {
	case u.LoadState == "masked":
		a.Skipped = append(a.Skipped, name+" is masked")
	case u.LoadState != "loaded":
		a.Failed = append(a.Failed, fmt.Sprintf("%s cannot be loaded (%s)", name, u.LoadState))
	case slices.Contains([]string{"active", "reloading", "refreshing"}, u.ActiveState):
		a.note(u)
	case u.ActiveState == "failed":
		a.Failed = append(a.Failed, name+" failed"+u.why())
	case u.ActiveState != "inactive":
		a.Pending = append(a.Pending, fmt.Sprintf("%s is %s (%s)", name, u.ActiveState, u.SubState))
	case u.Queued:
		a.Pending = append(a.Pending, name+" waits for others")
	case u.Checked > 0 && !u.Condition:
		a.Skipped = append(a.Skipped, name+" does not apply (its conditions)")
	case u.Type == "oneshot" && u.Exited > 0:
		u.Entered = u.Exited // a check that passed and is over
		a.note(u)
	default:
		a.Pending = append(a.Pending, name+" is not running")
		if u.Entered == 0 {
			a.Start = append(a.Start, name)
		}
	}
}

// note takes a unit that is as it should be.
func (a *assessment) note(u Unit) {
	a.Since = max(a.Since, u.Entered)
	if u.Entered < a.last {
		return
	}
	a.last, a.Last = u.Entered, u.ID
	if u.Restarts > 0 {
		a.Last += fmt.Sprintf(" (restarted %d times)", u.Restarts)
	}
}

// why is the reason systemd has for a failed unit, in parentheses.
func (u Unit) why() string {
	switch {
	case u.Result == "" || u.Result == "success":
		return ""
	case u.Status != 0:
		return fmt.Sprintf(" (%s, status %d)", u.Result, u.Status)
	}
	return " (" + u.Result + ")"
}

// phase is what the program is at.
type phase string

const (
	waiting   phase = "waiting"   // for units
	settling  phase = "settling"  // all are up, for how long?
	healthy   phase = "healthy"   // done
	unhealthy phase = "unhealthy" // done
)

// verdict is what follows from an assessment at some time.
type verdict struct {
	Phase phase
	// Reason says what is awaited or what is wrong.
	Reason string
	// Until is when a phase that is not done ends at the latest.
	Until time.Duration
}

// judge applies the policy to an assessment, at a time after the start of the
// kernel. It is pure.
func judge(a assessment, now time.Duration, c *updateconf.Config) verdict {
	deadline := c.HealthTimeout
	settled := a.Since + c.HealthSettle
	switch {
	case len(a.Failed) > 0:
		return verdict{Phase: unhealthy, Reason: join(a.Failed)}
	case len(a.Pending) > 0 && now >= deadline:
		return verdict{Phase: unhealthy, Reason: fmt.Sprintf("%s after the start: %s",
			c.HealthTimeout, join(a.Pending))}
	case len(a.Pending) > 0:
		return verdict{waiting, join(a.Pending), deadline}
	case now >= settled:
		return verdict{Phase: healthy}
	case a.Since >= deadline:
		return verdict{Phase: unhealthy, Reason: fmt.Sprintf("%s did not stay up for %s within %s of the start",
			a.Last, c.HealthSettle, c.HealthTimeout)}
	}
	return verdict{settling, fmt.Sprintf("everything is up, %s last, and has to stay so for %s",
		a.Last, c.HealthSettle), settled}
}

// join makes one line of reasons, the first of many.
func join(reasons []string) string {
	const most = 3
	if more := len(reasons) - most; more > 0 {
		return strings.Join(reasons[:most], "; ") + fmt.Sprintf("; %d more", more)
	}
	return strings.Join(reasons, "; ")
}
