package fleetctl

import (
	"fmt"
	"slices"
	"strings"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/unit"
)

// given says whether there are units to do something with.
func (s *session) given() bool {
	if len(s.args) == 0 {
		s.stderr("No units given")
		return false
	}
	return true
}

func runSubmit(s *session) int {
	if s.sign {
		return s.refuseSign()
	}
	if !s.given() {
		return exitDone
	}
	if _, err := s.create(s.args); err != nil {
		s.stderr("Error creating units: %v", err)
		return exitFailed
	}
	return exitDone
}

func runLoad(s *session) int {
	_, code := s.bring(unit.Loaded, "load", "loading")
	return code
}

func runStart(s *session) int {
	started, code := s.bring(unit.Launched, "start", "starting")
	if code != exitDone || s.noBlock || len(started) == 0 {
		return code
	}
	if err := s.waitActive(started); err != nil {
		s.stderr("Error waiting for units: %v", err)
		s.stderr("Error waiting for systemd unit states, err: %v", err)
		return exitFailed
	}
	return exitDone
}

// bring creates units as needed and brings them into a state. It returns the
// units that it has waited for.
func (s *session) bring(state unit.State, verb, doing string) (waited []string, code int) {
	if s.sign {
		return nil, s.refuseSign()
	}
	if !s.given() {
		return nil, exitDone
	}
	replaced, err := s.create(s.args)
	if err != nil {
		s.stderr("Error creating units: %v", err)
		return nil, exitFailed
	}
	triggered, err := s.setStates(s.args, state, replaced)
	if err != nil {
		s.stderr("Error %s units: %v", doing, err)
		return nil, exitFailed
	}
	for _, u := range triggered {
		if u.Global() {
			s.stdout("Triggered global unit %s %s", u.Name, verb)
		} else {
			waited = append(waited, u.Name)
		}
	}
	if err := s.waitState(waited, state, verb); err != nil {
		s.stderr("Error waiting for unit states, exit status: %v", err)
		return nil, exitFailed
	}
	return waited, exitDone
}

// setStates says what is wanted of units and returns those that change, the
// replaced ones included.
func (s *session) setStates(args []string, state unit.State, replaced []string) (changed []*api.Unit, err error) {
	for _, arg := range args {
		name := unitName(arg)
		u, err := s.unit(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("error retrieving unit %s from registry: %w", name, err)
		case u == nil:
			return nil, fmt.Errorf("unable to find unit %s", name)
		case u.DesiredState == string(state) && !slices.Contains(replaced, name):
			s.debug("Unit(%s) already %s, skipping.", name, state)
			continue
		}
		if u.DesiredState != string(state) {
			if err := s.setUnit(&api.Unit{Name: name, DesiredState: string(state)}); err != nil {
				return nil, err
			}
		}
		changed = append(changed, u)
	}
	return changed, nil
}

// known gives those of the units that are in the cluster. Without any the
// command has nothing to do.
func (s *session) known() (units []*api.Unit, code int, ok bool) {
	if !s.given() {
		return nil, exitDone, false
	}
	all, err := s.units()
	if err != nil {
		s.stderr("%v", err)
		return nil, exitFailed, false
	}
	for _, arg := range s.args {
		name := unitName(arg)
		for _, u := range all {
			if u.Name == name {
				units = append(units, u)
			}
		}
	}
	if len(units) == 0 {
		s.stderr("Units not found in registry")
		return nil, exitDone, false
	}
	return units, exitDone, true
}

func runStop(s *session) int {
	units, code, ok := s.known()
	if !ok {
		return code
	}
	var stopping []string
	for _, u := range units {
		switch {
		case u.Global():
		case u.CurrentState == string(unit.Inactive):
			s.stderr("Unable to stop unit %s in state %s", u.Name, unit.Inactive)
			return exitFailed
		case u.CurrentState == string(unit.Loaded) && u.DesiredState == string(unit.Loaded):
			s.debug("Unit(%s) already %s, skipping.", u.Name, unit.Loaded)
			continue
		}
		if !s.lower(u, unit.Loaded, "stop") {
			return exitFailed
		}
		if !u.Global() {
			stopping = append(stopping, u.Name)
		}
	}
	return s.waitLowered(stopping, unit.Loaded, "stop", "stopped")
}

func runUnload(s *session) int {
	units, code, ok := s.known()
	if !ok {
		return code
	}
	var unloading []string
	for _, u := range units {
		if !u.Global() && u.CurrentState == string(unit.Inactive) && u.DesiredState == string(unit.Inactive) {
			s.debug("Target state of Unit(%s) already %s, skipping.", u.Name, unit.Inactive)
			continue
		}
		if !s.lower(u, unit.Inactive, "unload") {
			return exitFailed
		}
		if !u.Global() {
			unloading = append(unloading, u.Name)
		}
	}
	return s.waitLowered(unloading, unit.Inactive, "unload", "unloaded")
}

// lower sets the state of a unit.
func (s *session) lower(u *api.Unit, state unit.State, verb string) bool {
	if err := s.setUnit(&api.Unit{Name: u.Name, DesiredState: string(state)}); err != nil {
		s.stderr("Error setting target state for unit %s: %v", u.Name, err)
		return false
	}
	if u.Global() {
		s.stdout("Triggered global unit %s %s", u.Name, verb)
	}
	return true
}

// waitLowered waits for units that are not global. fleet says of each set how
// it went, also of an empty one; here only of one that is not.
func (s *session) waitLowered(names []string, state unit.State, verb, done string) int {
	if len(names) == 0 {
		return exitDone
	}
	list := "[" + strings.Join(names, " ") + "]"
	if err := s.waitState(names, state, verb); err != nil {
		s.stderr("Failed to %s units %s. err: %v", verb, list, err)
		return exitFailed
	}
	if !s.noBlock {
		s.stderr("Successfully %s units %s.", done, list)
	}
	return exitDone
}

func runDestroy(s *session) int {
	units, code, ok := s.known()
	if !ok {
		return code
	}
	for _, u := range units {
		ctx, cancel := s.request()
		err := s.client.DestroyUnit(ctx, u.Name)
		cancel()
		if err != nil && !api.IsNotFound(err) {
			s.stderr("Error destroying units: %v", err)
			code = exitFailed
			continue
		}
		s.stdout("Destroyed %s", u.Name)
	}
	return code
}

func runRestart(s *session) int {
	units, code, ok := s.known()
	if !ok {
		return code
	}
	for _, u := range units {
		switch {
		case u.Global():
			code = max(code, s.everywhere(u, "restart"))
			continue
		case u.CurrentState == string(unit.Inactive):
			s.stderr("Unable to restart unit %s in state %s", u.Name, unit.Inactive)
			code = exitFailed
			continue
		}
		for _, state := range []unit.State{unit.Loaded, unit.Launched} {
			if u.CurrentState == string(unit.Loaded) && state == unit.Loaded {
				continue
			}
			if !s.lower(u, state, "restart") {
				return exitFailed
			}
			// Without waiting the stop would be lost.
			if err := s.wait([]string{u.Name}, s.attempts(), "report state "+string(state), s.reached(state)); err != nil {
				s.stderr("Error waiting for unit states, exit status: %v", err)
				return exitFailed
			}
		}
	}
	return code
}
