package server

import (
	"context"
	"time"

	"slipway/signing/omaha"
)

// Reload looks for new releases and rules at once.
func (s *Server) Reload() (bool, error) { return s.reload(context.Background()) }

// Database is the path of the file that keeps the machines.
func (s *Server) Database() string { return s.o.Database }

// Machine gives what is known of a machine.
func (s *Server) Machine(id string) *Machine {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.machines[id]
}

// Decide gives the version a machine would be offered, "" for none.
func (s *Server) Decide(app *omaha.App, now time.Time) string {
	return decide(s.catalog.get(), &question{app: app, machine: &Machine{ID: app.MachineID}, now: now, halted: s.halted}).version
}

// Sweep forgets what is old at once.
func (s *Server) Sweep() error { return s.sweep(context.Background()) }

// Waiting is how many requests wait for a member of an etcd cluster.
func (s *Server) Waiting() int {
	s.discovery.mu.Lock()
	defer s.discovery.mu.Unlock()
	return s.discovery.waiting
}
