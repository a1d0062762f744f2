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
		for _, name := range h.names() {
			if name != j.Name && unit.MatchAny(j.Rules.Conflicts, name) {
				return name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.choosy)) {
		if name != j.Name && unit.MatchAny(h.choosy[name].Rules.Conflicts, j.Name) {
			return name
		}
	}
	return ""
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

// takesGlobal says whether a global unit runs here.
func (h *host) takesGlobal(j *Job) bool { return h.suits(j) == "" && h.conflict(j) == "" }
