package agent

import (
	"cmp"
	"maps"
	"slices"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// Unit is a unit that a machine has.
type Unit struct {
	// UID is the unit's in the registry, "" for one that is not of this
	// registry, or that nothing is known of.
	UID   string
	Hash  string
	State unit.State // Loaded or Launched
	// Elsewhere says that the machine the registry wants the unit on runs it.
	Elsewhere bool
}

// Action is something to do with a unit. Actions are done in this order.
type Action int

// The actions. Between Load and Stop systemd reads unit files again.
const (
	Unload Action = iota // stop it and remove its file
	Load                 // put its file in place
	Stop
	Start
)

// String is the action's name in logs.
func (a Action) String() string { return [...]string{"unload", "load", "stop", "start"}[a] }

// Task is an action for a unit.
type Task struct {
	Action Action
	Unit   string
	Reason string
}

// plan says what a machine has to do, in order, and which units it leaves
// running though the registry does not want them here, with the reason.
func plan(have map[string]Unit, v *registry.View, machine string) (tasks []Task, holds map[string]string) {
	want := wanted(v, machine)
	holds = map[string]string{}
	for _, name := range names(have, want) {
		job := want[name]
		u, here := have[name]
		switch {
		case job == nil:
			if reason, hold := leave(name, u, v, machine); hold {
				holds[name] = reason
			} else {
				tasks = append(tasks, Task{Unload, name, reason})
			}
		case !here:
			tasks = append(tasks, Task{Load, name, "unit scheduled here but not loaded"})
			tasks = append(tasks, start(job)...)
		case u.Hash != job.Hash:
			tasks = append(tasks, Task{Unload, name, "unit loaded but hash differs"},
				Task{Load, name, "unit scheduled here but not loaded"})
			tasks = append(tasks, start(job)...)
		case u.State == unit.Loaded && job.Desired == unit.Launched:
			tasks = append(tasks, start(job)...)
		case u.State == unit.Launched && job.Desired == unit.Loaded:
			tasks = append(tasks, Task{Stop, name, "unit launched but desired state is loaded"})
		}
	}
	slices.SortStableFunc(tasks, func(a, b Task) int { return cmp.Compare(a.Action, b.Action) })
	return tasks, holds
}

func start(job *registry.Job) []Task {
	if job.Desired != unit.Launched {
		return nil
	}
	return []Task{{Start, job.Name, "unit loaded and desired state is launched"}}
}

func names(have map[string]Unit, want map[string]*registry.Job) []string {
	all := slices.Collect(maps.Keys(have))
	for name := range want {
		if _, ok := have[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// wanted gives the units that the registry wants on a machine. While the
// machine is not present nothing is known of its metadata: global units are
// not wanted then, and leave does not let them go either.
func wanted(v *registry.View, machine string) map[string]*registry.Job {
	m := schedule.Machine{ID: machine}
	present := v.Machines[machine]
	if present != nil {
		m = present.Schedulable()
	}
	jobs := v.Schedule().Jobs
	if present == nil {
		jobs = slices.DeleteFunc(jobs, func(j schedule.Job) bool { return j.Rules.Global })
	}
	want := map[string]*registry.Job{}
	for _, name := range schedule.Held(&m, jobs) {
		want[name] = v.Jobs[name]
	}
	return want
}

// leave says whether a unit that is not wanted here is left running all the
// same. It is, unless the registry says that it must not run here.
func leave(name string, u Unit, v *registry.View, machine string) (reason string, hold bool) {
	job := v.Jobs[name]
	if job == nil {
		if t, ok := v.Destroyed[name]; ok && t.UID == u.UID {
			return "unit was destroyed", false
		}
		return "registry does not know the unit", true
	}
	switch {
	case job.Desired == unit.Inactive && u.UID == "":
		return "registry does not want the unit yet", true
	case job.Desired == unit.Inactive:
		return "desired state is inactive", false
	case job.Rules.Global:
		if v.Machines[machine] == nil {
			return "machine is not present in the registry", true
		}
		return "global unit is not for this machine", false
	case job.Target == "":
		return "nobody decided yet where the unit runs", true
	case job.Target == schedule.Nowhere:
		return "unit must not run for now", false
	case u.UID == "" && !u.Elsewhere:
		return "unit does not run yet where the registry wants it", true
	}
	return "unit is scheduled to another machine", false
}
