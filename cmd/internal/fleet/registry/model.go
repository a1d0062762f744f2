package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"slipway/cmd/internal/fleet/unit"
)

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
