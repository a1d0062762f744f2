package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

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

// model is a registry in the making: parts of units and machines that are not
// whole are kept, as their other keys may come.
type model struct {
	prefix    string
	cluster   *Cluster
	machines  map[string]*Machine
	jobs      map[string]*Job
	destroyed map[string]Tombstone
	leader    *Leader
}

func newModel(prefix string) *model {
	return &model{
		prefix: prefix, machines: map[string]*Machine{}, jobs: map[string]*Job{}, destroyed: map[string]Tombstone{},
	}
}

// view gives what is whole.
func (m *model) view(revision int64) *View {
	v := &View{
		Revision: revision, Cluster: m.cluster, Leader: m.leader, Destroyed: maps.Clone(m.destroyed),
		Machines: make(map[string]*Machine, len(m.machines)), Jobs: make(map[string]*Job, len(m.jobs)),
	}
	for id, machine := range m.machines {
		if machine.ID != "" {
			v.Machines[id] = machine
		}
	}
	for name, job := range m.jobs {
		if job.UID != "" {
			v.Jobs[name] = job
		}
	}
	return v
}

// set takes in a key, nil for one that was deleted. A value that makes no sense
// counts as not there, and is an error that says so.
func (m *model) set(key string, kv *mvccpb.KeyValue) error {
	rest := strings.TrimPrefix(key, m.prefix)
	var err error
	switch {
	case rest == clusterKey:
		m.cluster, err = decode[Cluster](kv)
	case rest == leaderKey:
		if m.leader, err = decode[Leader](kv); m.leader != nil {
			m.leader.Revision = kv.CreateRevision
		}
	case strings.HasPrefix(rest, destroyedDir):
		err = m.setDestroyed(rest[len(destroyedDir):], kv)
	case strings.HasPrefix(rest, jobDir):
		err = m.setJob(rest[len(jobDir):], kv)
	case strings.HasPrefix(rest, machinesDir):
		err = m.setMachine(rest[len(machinesDir):], kv)
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", key, err)
	}
	return nil
}

// decode reads a value; it is nil for no key.
func decode[T any](kv *mvccpb.KeyValue) (*T, error) {
	if kv == nil {
		return nil, nil
	}
	value := new(T)
	if err := json.Unmarshal(kv.Value, value); err != nil {
		return nil, err
	}
	return value, nil
}

func (m *model) setDestroyed(name string, kv *mvccpb.KeyValue) error {
	t, err := decode[Tombstone](kv)
	if t == nil {
		delete(m.destroyed, name)
		return err
	}
	m.destroyed[name] = *t
	return nil
}

func (m *model) setMachine(path string, kv *mvccpb.KeyValue) (err error) {
	id, part, _ := strings.Cut(path, "/")
	machine := &Machine{}
	if old := m.machines[id]; old != nil {
		*machine = *old
	}
	name, isMetadata := strings.CutPrefix(part, "metadata/")
	switch {
	case part == "object":
		machine, err = m.readMachine(id, machine, kv)
	case part == "draining":
		if machine.Draining = ""; kv != nil {
			machine.Draining = string(kv.Value)
		}
	case isMetadata:
		machine.Changes = maps.Clone(machine.Changes)
		if machine.Changes == nil {
			machine.Changes = map[string]string{}
		}
		if delete(machine.Changes, name); kv != nil {
			machine.Changes[name] = string(kv.Value)
		}
	}
	m.machines[id] = machine
	if machine.ID == "" && machine.Draining == "" && len(machine.Changes) == 0 {
		delete(m.machines, id)
	}
	return err
}

// readMachine puts the main key of a machine to the others.
func (m *model) readMachine(id string, old *Machine, kv *mvccpb.KeyValue) (*Machine, error) {
	rest := &Machine{Changes: old.Changes, Draining: old.Draining}
	machine, err := decode[Machine](kv)
	if machine == nil {
		return rest, err
	}
	if machine.ID != id {
		return rest, fmt.Errorf("machine calls itself %q", machine.ID)
	}
	machine.Changes, machine.Draining, machine.lease = old.Changes, old.Draining, kv.Lease
	return machine, nil
}

func (m *model) setJob(path string, kv *mvccpb.KeyValue) (err error) {
	name, part, _ := strings.Cut(path, "/")
	job := &Job{Desired: unit.Inactive}
	if old := m.jobs[name]; old != nil {
		*job = *old
	}
	var value string
	var revision int64
	if kv != nil {
		value, revision = string(kv.Value), kv.ModRevision
	}
	switch part {
	case "object":
		err = job.read(name, kv)
		job.objectRev = revision
	case "target":
		job.Target, job.targetRev = value, revision
	case "target-state":
		if job.Desired, job.desiredRev = unit.Inactive, revision; kv != nil {
			job.Desired, err = unit.ParseState(value)
		}
	}
	m.jobs[name] = job
	if job.objectRev == 0 && job.targetRev == 0 && job.desiredRev == 0 {
		delete(m.jobs, name)
	}
	return err
}

// read takes the main key of a unit in. What cannot be read is no unit.
func (j *Job) read(name string, kv *mvccpb.KeyValue) error {
	j.Name, j.UID, j.Hash, j.Text, j.Rules = "", "", "", "", nil
	o, err := decode[object](kv)
	if o == nil {
		return err
	}
	f, err := unit.Parse([]byte(o.Raw))
	switch {
	case err != nil:
		return err
	case o.Name != name || o.UID == "":
		return fmt.Errorf("unit calls itself %q, %q", o.Name, o.UID)
	}
	j.Name, j.UID, j.Hash, j.Text, j.Rules = name, o.UID, f.Hash(), o.Raw, f.Rules(name)
	return nil
}
