package registry

import (
	"maps"
	"slices"
	"time"

	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// Cluster tells this registry from any other, also from the one that was in
// the same etcd before it was emptied.
type Cluster struct {
	ID      string
	Created time.Time
}

// Machine is a machine that is present.
type Machine struct {
	ID       string
	PublicIP string
	// Metadata is what the machine was configured with.
	Metadata map[string]string
	Version  string
	Boot     string // the kernel's id of this boot
	// Changes are metadata set through the API; "" takes a key away.
	Changes map[string]string `json:"-"`
	// Draining is the boot that is about to end, "" if none is.
	Draining string `json:"-"`

	lease int64
}

// Tombstone remembers a unit that was destroyed, for machines that did not
// hear of it at the time.
type Tombstone struct {
	UID string
	At  time.Time
}

// Leader is the engine that decides.
type Leader struct {
	MachineID string
	Version   int
	// Revision is that of its election: what it writes is written only as long
	// as nobody was elected after it.
	Revision int64 `json:"-"`
}

// Job is a unit of the cluster.
type Job struct {
	Name string
	// UID is another for a unit that was destroyed and made again.
	UID     string
	Hash    string
	Text    string
	Rules   *unit.Rules
	Desired unit.State
	// Target is a machine's id, schedule.Nowhere, or "" while nobody decided.
	Target string

	objectRev, targetRev, desiredRev int64
}

// object is the value of a unit's main key.
type object struct {
	Name     string
	UID      string
	UnitHash string
	Raw      string
}

// View is the registry at one revision. Views and what they point to are not
// changed any more.
type View struct {
	Revision  int64
	Cluster   *Cluster // nil in an empty registry
	Machines  map[string]*Machine
	Jobs      map[string]*Job
	Destroyed map[string]Tombstone // by unit
	Leader    *Leader              // nil while none is elected
}

// AllMetadata is the metadata that counts.
func (m *Machine) AllMetadata() map[string]string {
	all := maps.Clone(m.Metadata)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range m.Changes {
		if value == "" {
			delete(all, key)
		} else {
			all[key] = value
		}
	}
	return all
}

// Schedulable is the machine as the scheduler sees it.
func (m *Machine) Schedulable() schedule.Machine {
	return schedule.Machine{ID: m.ID, Metadata: m.AllMetadata(), Draining: m.Draining != "" && m.Draining == m.Boot}
}

// Schedulable is the unit as the scheduler sees it.
func (j *Job) Schedulable() schedule.Job {
	return schedule.Job{Name: j.Name, Rules: j.Rules, Desired: j.Desired, Target: j.Target}
}

// Schedule is the registry as the scheduler sees it, in byte order.
func (v *View) Schedule() *schedule.Cluster {
	c := &schedule.Cluster{
		Machines: make([]schedule.Machine, 0, len(v.Machines)), Jobs: make([]schedule.Job, 0, len(v.Jobs)),
	}
	for _, id := range slices.Sorted(maps.Keys(v.Machines)) {
		c.Machines = append(c.Machines, v.Machines[id].Schedulable())
	}
	for _, name := range slices.Sorted(maps.Keys(v.Jobs)) {
		c.Jobs = append(c.Jobs, v.Jobs[name].Schedulable())
	}
	return c
}
