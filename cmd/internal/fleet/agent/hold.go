package agent

import (
	"context"
	"maps"
	"slices"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// adopt makes units of a registry before this one, and units found without a
// record, units of this one, where it has the same unit for this machine.
func (a *Agent) adopt(v *registry.View) (changed bool) {
	if a.memory.Cluster != v.Cluster.ID {
		if a.memory.Cluster != "" {
			a.Log.Warn("registry is another than before; units are left running until it says otherwise",
				"before", a.memory.Cluster, "now", v.Cluster.ID)
		}
		for _, u := range a.memory.Units {
			u.UID = ""
		}
		a.memory.Cluster, changed = v.Cluster.ID, true
	}
	for name, u := range a.memory.Units {
		job := v.Jobs[name]
		if job == nil || u.UID == job.UID || !a.mayAdopt(job) {
			continue
		}
		u.UID, changed = job.UID, true
		delete(a.handover, name)
	}
	return changed
}

// mayAdopt says whether a registry wants a unit here.
func (a *Agent) mayAdopt(job *registry.Job) bool {
	return job.Desired != unit.Inactive && (job.Target == a.Machine || job.Rules.Global)
}

// inventory copies what the machine has, for plan.
func (a *Agent) inventory() map[string]Unit {
	units := make(map[string]Unit, len(a.memory.Units))
	for name, u := range a.memory.Units {
		units[name] = Unit{UID: u.UID, Hash: u.Hash, State: u.State, Elsewhere: a.handover[name]}
	}
	return units
}

// logHeld says once of each unit why it is left as it is.
func (a *Agent) logHeld(holds map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(holds)) {
		if !a.told[name] {
			a.Log.Warn("unit is left running", "unit", name, "reason", holds[name])
		}
	}
	clear(a.told)
	for name := range holds {
		a.told[name] = true
	}
}

// askHandovers looks whether units of a former registry run where this one
// wants them: then they can stop here.
func (a *Agent) askHandovers(ctx context.Context, v *registry.View, holds map[string]string) {
	for name := range holds {
		job := v.Jobs[name]
		if job == nil || v.Machines[job.Target] == nil || job.Target == a.Machine {
			continue
		}
		reports, err := a.Registry.ReportsOf(ctx, name)
		if err != nil {
			return
		}
		for _, p := range reports {
			if p.Machine == job.Target && p.Active == "active" {
				a.mu.Lock()
				a.handover[name] = true
				a.mu.Unlock()
				wake(a.poke)
			}
		}
	}
}
