package fleetctl

import (
	"fmt"
	"time"

	"slipway/cmd/internal/fleet/unit"
)

const (
	// tick is how often a unit is asked for.
	tick = 250 * time.Millisecond
	// attempt is how many ticks --block-attempts counts as one.
	attempt = 8
)

// attempts is how often to ask, 0 for without end.
func (s *session) attempts() int { return max(s.blockAttempts, 0) * attempt }

// wait asks until a check holds for each unit, or gives an error. Times is how
// often at most, 0 for without end.
func (s *session) wait(names []string, times int, what string, check func(name string) (bool, error)) error {
	for n := 1; ; n++ {
		var left []string
		for _, name := range names {
			done, err := check(name)
			if err != nil {
				return err
			}
			if !done {
				left = append(left, name)
			}
		}
		if names = left; len(names) == 0 {
			return nil
		}
		if times > 0 && n >= times {
			return fmt.Errorf("timed out waiting for unit %s to %s", names[0], what)
		}
		if s.Sleep(s.ctx, tick); s.ctx.Err() != nil {
			return s.ctx.Err()
		}
	}
}

// waitState waits until units are in a state on their machines and says so of
// each. With --no-block it only says what was begun.
func (s *session) waitState(names []string, state unit.State, verb string) error {
	if s.noBlock {
		for _, name := range names {
			s.stdout("Triggered unit %s %s", name, verb)
		}
		return nil
	}
	err := s.wait(names, s.attempts(), "report state "+string(state), s.reached(state))
	if err != nil {
		s.stderr("Error waiting for units: %v", err)
	}
	return err
}

// reached checks whether a unit is in a state, and says so once it is.
func (s *session) reached(state unit.State) func(string) (bool, error) {
	return func(name string) (bool, error) {
		u, err := s.unit(name)
		switch {
		case err != nil:
			s.debug("Retrying assertion of states. err: %v", err)
			return false, nil
		case u == nil:
			return false, fmt.Errorf("unit %s not found", name)
		case u.CurrentState != string(state):
			return false, nil
		}
		line := fmt.Sprintf("Unit %s %s", name, u.CurrentState)
		if u.MachineID != "" {
			line += " on " + s.describeMachine(u.MachineID)
		}
		s.stdout("%s", line)
		return true, nil
	}
}

// waitActive waits until systemd has started units. A unit that does its work
// and ends is not active for long: one that is inactive for an attempt, and has
// not failed, has done so.
func (s *session) waitActive(names []string) error {
	inactive := map[string]int{}
	return s.wait(names, s.attempts(), "report active state", func(name string) (bool, error) {
		ctx, cancel := s.request()
		defer cancel()
		state, err := s.client.State(ctx, name)
		if err != nil {
			s.debug("Retrying assertion of states. err: %v", err)
			return false, nil
		}
		switch state.SystemdActiveState {
		case "active", "reloading":
			return state.SystemdLoadState == "loaded", nil
		case "failed":
			return false, fmt.Errorf("Failed to find an active unit %s: it is failed (%s)", name, state.SystemdSubState)
		case "inactive":
			inactive[name]++
			return inactive[name] >= attempt && state.SystemdLoadState == "loaded", nil
		}
		return false, nil
	})
}
