// Package schedule decides which machine runs which unit. It is pure: machines
// and units in, decisions out, the same for the same input.
//
// A unit goes to the machine with the fewest units among those that its rules
// and the units there allow; the lower id wins a tie. A unit that has a machine
// stays there as long as that is allowed: nothing is moved for balance, since
// moving stops what runs. Global units are nobody's decision: every machine
// finds them by itself, with Held.
//
// The package reads and writes nothing; package engine does.
package schedule

import (
	"cmp"
	"slices"

	"slipway/cmd/internal/fleet/unit"
)

// Nowhere is the target of a unit that must not run on any machine for now.
// It differs from "": a unit that nobody has decided about keeps running
// wherever it does.
const Nowhere = "-"

// Machine is a machine that can take units.
type Machine struct {
	ID       string
	Metadata map[string]string
	// Draining machines are about to restart: they get no unit and lose those
	// that can run elsewhere.
	Draining bool
	// Away machines were lost a moment ago and may be back: they get no unit and
	// keep those they have.
	Away bool
}

// Job is a unit and what is known of where it runs.
type Job struct {
	Name    string
	Rules   *unit.Rules
	Desired unit.State
	// Target is the id of the machine that was decided on, Nowhere, or "".
	Target string
	// Runs is a machine that reports the unit, "" for none or several.
	Runs string
}

// Cluster is what is decided about.
type Cluster struct {
	Machines []Machine
	Jobs     []Job
}

// Decision gives a unit another target.
type Decision struct {
	Unit     string
	From, To string // ids of machines, Nowhere or ""
	Reason   string
}

// Plan is what to do.
type Plan struct {
	// Decisions are to be written in this order.
	Decisions []Decision
	// Waiting says of units that should run why none of the machines takes them.
	Waiting map[string]string
}

// Decide says how targets have to change.
func Decide(c *Cluster) *Plan {
	s := newState(c)
	s.keep()
	s.addGlobals(globals(c.Jobs))
	s.followPeers()
	s.place()
	return s.plan()
}

// Held lists the units a machine has to have, in byte order: those it is the
// target of, and global ones as far as they conflict with none of the others.
func Held(m *Machine, jobs []Job) []string {
	h := newHost(m)
	for i := range jobs {
		if j := &jobs[i]; j.Target == m.ID && j.schedulable() {
			h.add(j)
		}
	}
	h.setGlobals(globals(jobs))
	return h.names()
}

// schedulable says whether one machine has to be found for the unit.
func (j *Job) schedulable() bool {
	return j.Desired != unit.Inactive && !j.Rules.Global && !unit.IsTemplate(j.Name)
}

// globals gives the global units that should run, in byte order.
func globals(jobs []Job) []*Job {
	var list []*Job
	for i := range jobs {
		j := &jobs[i]
		if j.Rules.Global && j.Desired != unit.Inactive && !unit.IsTemplate(j.Name) {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *Job) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
