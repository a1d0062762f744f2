package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"slipway/cmd/internal/fleet/unit"
)

// state is a plan in the making.
type state struct {
	hosts    map[string]*host
	ids      []string // of hosts, in byte order
	jobs     []*Job   // in byte order of the names
	byName   map[string]*Job
	replaces replacements
	at       map[string]*host // where units are in the plan
	pending  []*Job           // to be placed, in byte order
	reasons  map[string]string
	waiting  map[string]string
	// budget is how many more placements a plan may try.
	budget int
}

func newState(c *Cluster) *state {
	s := &state{
		hosts: map[string]*host{}, byName: map[string]*Job{}, at: map[string]*host{},
		reasons: map[string]string{}, waiting: map[string]string{},
		budget: 8*len(c.Jobs) + 8,
	}
	for i := range c.Machines {
		s.hosts[c.Machines[i].ID] = newHost(&c.Machines[i])
	}
	s.ids = slices.Sorted(maps.Keys(s.hosts))
	for i := range c.Jobs {
		s.jobs = append(s.jobs, &c.Jobs[i])
		s.byName[c.Jobs[i].Name] = &c.Jobs[i]
	}
	slices.SortFunc(s.jobs, func(a, b *Job) int { return cmp.Compare(a.Name, b.Name) })
	s.replaces = newReplacements(s.jobs)
	return s
}

func (s *state) put(j *Job, h *host) {
	h.add(j)
	s.at[j.Name] = h
}

// evict takes a unit off its machine; it waits for another.
func (s *state) evict(j *Job, reason string) {
	s.at[j.Name].remove(j.Name)
	delete(s.at, j.Name)
	s.want(j, reason)
}

func (s *state) want(j *Job, reason string) {
	s.reasons[j.Name] = reason
	s.pending = append(s.pending, j)
}

// keep leaves units where they are as far as machines and units there allow;
// of two that cannot be together the first in byte order stays.
func (s *state) keep() {
	for _, j := range s.jobs {
		if !j.schedulable() {
			continue
		}
		h := s.hosts[j.Target]
		switch {
		case j.Target == "" || j.Target == Nowhere:
			s.want(j, fmt.Sprintf("target state %s and unit not scheduled", j.Desired))
		case h == nil:
			s.want(j, fmt.Sprintf("target Machine(%s) went away", j.Target))
		case h.Draining:
			s.want(j, fmt.Sprintf("target Machine(%s) is draining", j.Target))
		default:
			if reason := s.unable(h, j); reason != "" {
				s.want(j, fmt.Sprintf("target Machine(%s) unable to run unit: %s", j.Target, reason))
				continue
			}
			s.put(j, h)
			s.displace(h, j)
		}
	}
}

// unable says why a machine cannot take a unit, peers aside; "" if it can.
func (s *state) unable(h *host, j *Job) string {
	if reason := h.suits(j); reason != "" {
		return reason
	}
	if name := h.conflict(j); name != "" {
		return fmt.Sprintf("found conflict with locally-scheduled Unit(%s)", name)
	}
	for _, name := range slices.Sorted(maps.Keys(h.choosy)) {
		if s.replaces.has(name, j.Name) {
			return fmt.Sprintf("replaced by locally-scheduled Unit(%s)", name)
		}
	}
	return ""
}

// displace makes the units leave that a new one replaces.
func (s *state) displace(h *host, j *Job) {
	for _, name := range s.replaces[j.Name] {
		if other := h.units[name]; other != nil && !other.Rules.Global {
			s.evict(other, fmt.Sprintf("found replace with locally-scheduled Unit(%s)", j.Name))
		}
	}
}

func (s *state) addGlobals() {
	for _, id := range s.ids {
		h := s.hosts[id]
		for _, j := range s.jobs {
			if j.Rules.Global && j.Desired != unit.Inactive && !unit.IsTemplate(j.Name) &&
				h.units[j.Name] == nil && h.takesGlobal(j) {
				h.add(j)
			}
		}
	}
}

// followPeers takes units off machines that their peers are not on, and those
// that follow them in turn.
func (s *state) followPeers() {
	for changed := true; changed; {
		changed = false
		for _, j := range s.jobs {
			h := s.at[j.Name]
			if h == nil {
				continue
			}
			if peer := h.missingPeer(j); peer != "" {
				s.evict(j, fmt.Sprintf("required peer Unit(%s) is not scheduled locally", peer))
				changed = true
			}
		}
	}
}

// place finds machines for units that wait. A unit that was placed can let
// another follow, or make one leave, so that it goes round until nothing
// changes. Units do not replace each other in circles; the budget is for those
// that make others leave by being followed.
func (s *state) place() {
	for changed := true; changed; {
		changed = false
		waiting := s.pending
		s.pending = nil
		slices.SortFunc(waiting, func(a, b *Job) int { return cmp.Compare(a.Name, b.Name) })
		for _, j := range waiting {
			h, reason := s.choose(j)
			if h == nil || s.budget == 0 {
				s.waiting[j.Name] = reason
				s.pending = append(s.pending, j)
				continue
			}
			delete(s.waiting, j.Name)
			s.put(j, h)
			s.displace(h, j)
			s.followPeers()
			s.budget--
			changed = true
		}
	}
}

// choose gives the machine for a unit: the one that runs it already, else the
// one with the fewest units. If there is none it says why.
func (s *state) choose(j *Job) (*host, string) {
	var best *host
	reason := "no agents able to run job"
	if len(s.ids) == 0 {
		reason = "zero agents available"
	}
	for _, id := range s.ids {
		h := s.hosts[id]
		if h.Draining {
			continue
		}
		if no := s.refuses(h, j); no != "" {
			if len(s.ids) == 1 || len(j.Rules.Peers) > 0 || unit.MatchMachine(j.Rules.MachineID, h.ID) {
				reason = no
			}
			continue
		}
		if h.ID == j.Runs {
			return h, ""
		}
		if best == nil || len(h.units) < len(best.units) {
			best = h
		}
	}
	// Better on a machine that is about to restart than nowhere.
	if h := s.hosts[j.Target]; best == nil && h != nil && h.Draining && s.refuses(h, j) == "" {
		best = h
	}
	return best, reason
}

func (s *state) refuses(h *host, j *Job) string {
	if reason := s.unable(h, j); reason != "" {
		return reason
	}
	if peer := h.missingPeer(j); peer != "" {
		return fmt.Sprintf("required peer Unit(%s) is not scheduled locally", peer)
	}
	return ""
}

// plan compares what is with what was decided.
func (s *state) plan() *Plan {
	p := &Plan{Waiting: s.waiting}
	for _, j := range s.jobs {
		to, reason := s.target(j)
		if to != j.Target {
			p.Decisions = append(p.Decisions, Decision{Unit: j.Name, From: j.Target, To: to, Reason: reason})
		}
	}
	return p
}

// target is the new target of a unit. A unit whose machine is away and that
// fits nowhere else keeps it: it runs there perhaps, and does when the machine
// is back.
func (s *state) target(j *Job) (id, reason string) {
	switch h := s.at[j.Name]; {
	case j.Desired == unit.Inactive:
		return "", "target state inactive"
	case !j.schedulable():
		return "", "global unit"
	case h != nil:
		return h.ID, s.reasons[j.Name]
	case j.Target == "" || j.Target != Nowhere && s.hosts[j.Target] == nil:
		return j.Target, ""
	}
	return Nowhere, s.reasons[j.Name]
}
