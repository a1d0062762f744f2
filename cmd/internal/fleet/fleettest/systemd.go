// Package fleettest gives tests what a machine of a fleet has beside fleetd: a
// systemd that only pretends, and a registry in a real etcd.
package fleettest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"slipway/cmd/internal/fleet/agent"
)

// Systemd pretends to be the systemd of a machine. Units run as soon as they
// are started. What happened to them is counted.
type Systemd struct {
	mu      sync.Mutex
	linked  map[string]string // path by unit, as of the last Reload visible
	pending map[string]string
	running map[string]bool
	changes chan string

	starts, stops map[string]int
	// Refuse makes the start of units fail.
	Refuse map[string]bool
	// Log is told of each start and stop, if it is set.
	Log func(unit, what string)
}

// NewSystemd makes a systemd without units.
func NewSystemd() *Systemd {
	return &Systemd{
		linked: map[string]string{}, pending: map[string]string{}, running: map[string]bool{},
		changes: make(chan string, 1), starts: map[string]int{}, stops: map[string]int{},
	}
}

func (s *Systemd) tell(unit string) {
	select {
	case s.changes <- unit:
	default:
	}
}

// Changes implements agent.Systemd.
func (s *Systemd) Changes() <-chan string { return s.changes }

// Status implements agent.Systemd.
func (s *Systemd) Status(_ context.Context, names []string) (map[string]agent.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]agent.Status{}
	for _, name := range names {
		load, active, sub := "not-found", "inactive", "dead"
		if s.linked[name] != "" {
			load = "loaded"
		}
		if s.running[name] {
			active, sub = "active", "running"
		}
		all[name] = agent.Status{Load: load, Active: active, Sub: sub}
	}
	return all, nil
}

// Link implements agent.Systemd.
func (s *Systemd) Link(_ context.Context, path string, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(path); err != nil {
		return err
	}
	s.pending[filepath.Base(path)] = path
	return nil
}

// Unlink implements agent.Systemd.
func (s *Systemd) Unlink(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, name)
	return nil
}

// Reload implements agent.Systemd.
func (s *Systemd) Reload(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linked = maps.Clone(s.pending)
	s.tell("")
	return nil
}

// Start implements agent.Systemd.
func (s *Systemd) Start(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.linked[name] == "" {
		return fmt.Errorf("Unit %s not found.", name)
	}
	if s.Refuse[name] {
		return fmt.Errorf("Unit %s is refused.", name)
	}
	if !s.running[name] {
		s.running[name] = true
		s.starts[name]++
		s.say(name, "start")
	}
	s.tell(name)
	return nil
}

// Stop implements agent.Systemd.
func (s *Systemd) Stop(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[name] {
		delete(s.running, name)
		s.stops[name]++
		s.say(name, "stop")
	}
	s.tell(name)
	return nil
}

func (s *Systemd) say(unit, what string) {
	if s.Log != nil {
		s.Log(unit, what)
	}
}

// Running gives the units that run, with how often they were started.
func (s *Systemd) Running() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]int{}
	for name := range s.running {
		all[name] = s.starts[name]
	}
	return all
}

// Stops counts how often units were stopped.
func (s *Systemd) Stops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.stops {
		n += times
	}
	return n
}

// Starts counts how often units were started.
func (s *Systemd) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.starts {
		n += times
	}
	return n
}

// Reboot ends all units and forgets their links, as a machine does that
// starts anew.
func (s *Systemd) Reboot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.running)
	clear(s.pending)
	clear(s.linked)
}
