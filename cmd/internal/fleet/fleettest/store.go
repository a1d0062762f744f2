package fleettest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// Store is a registry in memory, with an engine and agents that do at once
// what is wanted. It is for tests of what lies above.
type Store struct {
	mu       sync.Mutex
	machines map[string]*registry.Machine
	jobs     map[string]*registry.Job
	// Idle leaves units as they are.
	Idle bool
	// Err is what everything fails with, if it is set.
	Err error
}

// NewStore makes a store with machines.
func NewStore(machines ...*registry.Machine) *Store {
	s := &Store{machines: map[string]*registry.Machine{}, jobs: map[string]*registry.Job{}}
	for _, m := range machines {
		s.machines[m.ID] = m
	}
	return s
}

// Load implements api.Store.
func (s *Store) Load(context.Context) (*registry.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(), s.Err
}

func (s *Store) view() *registry.View {
	return &registry.View{
		Cluster: &registry.Cluster{ID: "test"}, Machines: maps.Clone(s.machines), Jobs: maps.Clone(s.jobs),
	}
}

// Unit implements api.Store.
func (s *Store) Unit(_ context.Context, name string) (*registry.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if job := s.jobs[name]; job != nil || s.Err != nil {
		return job, s.Err
	}
	return nil, registry.ErrNotFound
}

// Reports implements api.Store.
func (s *Store) Reports(context.Context) ([]registry.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Idle || s.Err != nil {
		return nil, s.Err
	}
	var all []registry.Report
	c := s.view().Schedule()
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		for i := range c.Machines {
			m := &c.Machines[i]
			if !slices.Contains(schedule.Held(m, c.Jobs), name) {
				continue
			}
			job := s.jobs[name]
			p := registry.Report{
				Unit: name, Machine: m.ID, Hash: job.Hash, State: job.Desired, Load: "loaded", Active: "inactive", Sub: "dead",
			}
			if job.Desired == unit.Launched {
				p.Active, p.Sub = "active", "running"
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// ReportsOf implements api.Store.
func (s *Store) ReportsOf(ctx context.Context, name string) ([]registry.Report, error) {
	all, err := s.Reports(ctx)
	return slices.DeleteFunc(all, func(p registry.Report) bool { return p.Unit != name }), err
}

// CreateUnit implements api.Store.
func (s *Store) CreateUnit(_ context.Context, name, uid string, f *unit.File, desired unit.State) error {
	return s.change(func() error {
		if s.jobs[name] != nil {
			return registry.ErrExists
		}
		s.jobs[name] = newJob(name, uid, f, desired, "")
		return nil
	})
}

func newJob(name, uid string, f *unit.File, desired unit.State, target string) *registry.Job {
	return &registry.Job{
		Name: name, UID: uid, Hash: f.Hash(), Text: string(f.Bytes()), Rules: f.Rules(name), Desired: desired, Target: target,
	}
}

// ReplaceUnit implements api.Store.
func (s *Store) ReplaceUnit(_ context.Context, old *registry.Job, f *unit.File, desired unit.State) error {
	return s.change(func() error {
		s.jobs[old.Name] = newJob(old.Name, old.UID, f, desired, old.Target)
		return nil
	})
}

// SetDesired implements api.Store.
func (s *Store) SetDesired(_ context.Context, name string, desired unit.State) error {
	return s.change(func() error {
		old := s.jobs[name]
		if old == nil {
			return registry.ErrNotFound
		}
		job := *old
		job.Desired = desired
		s.jobs[name] = &job
		return nil
	})
}

// DestroyUnit implements api.Store.
func (s *Store) DestroyUnit(_ context.Context, name string, _ time.Time) error {
	return s.change(func() error {
		if s.jobs[name] == nil {
			return registry.ErrNotFound
		}
		delete(s.jobs, name)
		return nil
	})
}

// SetMetadata implements api.Store.
func (s *Store) SetMetadata(_ context.Context, machine, key, value string) error {
	return s.change(func() error {
		m := registry.Machine{ID: machine}
		if old := s.machines[machine]; old != nil {
			m = *old
		}
		m.Changes = maps.Clone(m.Changes)
		if m.Changes == nil {
			m.Changes = map[string]string{}
		}
		m.Changes[key] = value
		s.machines[machine] = &m
		return nil
	})
}

// change changes something and lets the engine decide.
func (s *Store) change(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Err != nil {
		return s.Err
	}
	if err := do(); err != nil || s.Idle {
		return err
	}
	for _, d := range schedule.Decide(s.view().Schedule()).Decisions {
		job := *s.jobs[d.Unit]
		job.Target = d.To
		s.jobs[d.Unit] = &job
	}
	return nil
}
