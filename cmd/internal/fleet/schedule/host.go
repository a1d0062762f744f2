package schedule

import (
	"fmt"
	"maps"
	"slices"

	"slipway/cmd/internal/fleet/unit"
)

// host is a machine with the units it has in the plan.
type host struct {
	*Machine
	units map[string]*Job
	// choosy are the units among them that have conflicts or replace others.
	choosy map[string]*Job
}

func newHost(m *Machine) *host {
	return &host{Machine: m, units: map[string]*Job{}, choosy: map[string]*Job{}}
}

func (h *host) add(j *Job) {
	h.units[j.Name] = j
	if len(j.Rules.Conflicts) > 0 || len(j.Rules.Replaces) > 0 {
		h.choosy[j.Name] = j
	}
}

func (h *host) remove(name string) {
	delete(h.units, name)
	delete(h.choosy, name)
}

func (h *host) names() []string { return slices.Sorted(maps.Keys(h.units)) }

// suits says whether the machine itself is what the unit asks for; "" if it
// is, else why not.
func (h *host) suits(j *Job) string {
	if h.Away {
		return "" // nothing is known of it
	}
	if j.Rules.MachineID != "" && !unit.MatchMachine(j.Rules.MachineID, h.ID) {
		return fmt.Sprintf("agent ID %q does not match required %q", h.ID, j.Rules.MachineID)
	}
	for key, values := range j.Rules.Metadata {
		if !slices.Contains(values, h.Metadata[key]) {
			return "local Machine metadata insufficient"
		}
	}
	return ""
}

// conflict names a unit that must not be beside the unit, "" if there is none.
func (h *host) conflict(j *Job) string {
	if len(j.Rules.Conflicts) > 0 {
		name := first(h.units, func(other *Job) bool {
			return other.Name != j.Name && unit.MatchAny(j.Rules.Conflicts, other.Name)
		})
		if name != "" {
			return name
		}
	}
	return first(h.choosy, func(other *Job) bool {
		return other.Name != j.Name && unit.MatchAny(other.Rules.Conflicts, j.Name)
	})
}

// first names the first unit in byte order that is so, "" if none is.
func first(units map[string]*Job, is func(*Job) bool) string {
	found := ""
	for name, j := range units {
		if (found == "" || name < found) && is(j) {
			found = name
		}
	}
	return found
}

// missingPeer names a unit that has to be here and is not, "" if there is none.
func (h *host) missingPeer(j *Job) string {
	for _, peer := range j.Rules.Peers {
		if h.units[peer] == nil {
			return peer
		}
	}
	return ""
}

// setGlobals gives the machine those of the global units, in byte order, that
// conflict with no other unit it has. It is the same whatever it had before.
func (h *host) setGlobals(globals []*Job) {
	for _, j := range globals {
		h.remove(j.Name)
	}
	for _, j := range globals {
		if h.suits(j) == "" && h.conflict(j) == "" {
			h.add(j)
		}
	}
}
