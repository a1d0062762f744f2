// Package api is fleet's HTTP API, version 1: its documents, the server that
// fleetd answers with, and the client that fleetctl asks with. Paths, shapes,
// status codes and texts are those of fleet 1.0.
//
// Whoever reaches the API can run what they like as root. The package leaves
// it to those who listen to let only those in who may: a socket that a group
// can open, or TLS with certificates of clients.
package api

import (
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// Version is the version of fleet whose API and command line this is.
const Version = "1.0.0"

// Unit is a unit of the cluster.
type Unit struct {
	CurrentState string        `json:"currentState,omitempty"` // on its machine; "" for global units
	DesiredState string        `json:"desiredState,omitempty"`
	MachineID    string        `json:"machineID,omitempty"` // "" for global units and those without a machine
	Name         string        `json:"name,omitempty"`
	Options      []unit.Option `json:"options,omitempty"`
}

// File is the unit's file.
func (u *Unit) File() *unit.File { return &unit.File{Options: u.Options} }

// Global says whether the unit runs on all machines it may run on.
func (u *Unit) Global() bool { return u.File().Rules(u.Name).Global }

// UnitPage is a part of the units.
type UnitPage struct {
	NextPageToken string  `json:"nextPageToken,omitempty"`
	Units         []*Unit `json:"units,omitempty"`
}

// UnitState is how a unit is on a machine.
type UnitState struct {
	Hash               string `json:"hash,omitempty"`
	MachineID          string `json:"machineID,omitempty"`
	Name               string `json:"name,omitempty"`
	SystemdActiveState string `json:"systemdActiveState,omitempty"`
	SystemdLoadState   string `json:"systemdLoadState,omitempty"`
	SystemdSubState    string `json:"systemdSubState,omitempty"`
}

// UnitStatePage is a part of the states.
type UnitStatePage struct {
	NextPageToken string       `json:"nextPageToken,omitempty"`
	States        []*UnitState `json:"states,omitempty"`
}

// Machine is a machine of the cluster.
type Machine struct {
	ID        string            `json:"id,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	PrimaryIP string            `json:"primaryIP,omitempty"`
}

// MachinePage is a part of the machines.
type MachinePage struct {
	Machines      []*Machine `json:"machines,omitempty"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}

// Error is what went wrong.
type Error struct {
	Code    int    `json:"code"` // as in the status line
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

type errorDocument struct {
	Error Error `json:"error"`
}

// Draining says how far the draining of this machine is. It is not fleet's.
type Draining struct {
	Draining bool `json:"draining"`
	// Left are units that other machines take over and that are still here.
	Left []string `json:"left,omitempty"`
	// Stay are units that no other machine can take.
	Stay []string `json:"stay,omitempty"`
}

// newUnit describes a unit. The reports are those of this unit, at least.
func newUnit(job *registry.Job, reports []registry.Report) (*Unit, error) {
	f, err := unit.Parse([]byte(job.Text))
	if err != nil {
		return nil, err
	}
	u := &Unit{Name: job.Name, DesiredState: string(job.Desired), Options: f.Options}
	if job.Rules.Global {
		return u, nil
	}
	state := unit.Inactive
	if job.Target != schedule.Nowhere {
		u.MachineID = job.Target
	}
	for _, p := range reports {
		if p.Unit == job.Name && p.Machine == u.MachineID && p.Hash == job.Hash {
			state = p.State
		}
	}
	u.CurrentState = string(state)
	return u, nil
}

func newState(p *registry.Report) *UnitState {
	return &UnitState{
		Name: p.Unit, Hash: p.Hash, MachineID: p.Machine,
		SystemdLoadState: p.Load, SystemdActiveState: p.Active, SystemdSubState: p.Sub,
	}
}

func newMachine(m *registry.Machine) *Machine {
	return &Machine{ID: m.ID, PrimaryIP: m.PublicIP, Metadata: m.AllMetadata()}
}
