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
	live     int      // hosts that are not away
	jobs     []*Job   // see order
	replaces *replacements
	globals  []*Job            // in byte order; empty until they are added to the hosts
	at       map[string]*host  // where units are in the plan
	pending  []*Job            // to be placed
	reasons  map[string]string // why units are to be placed
	waiting  map[string]string // why units are not placed
	// budget is how many more placements a plan may try.
	budget int
}

func newState(c *Cluster) *state {
	s := &state{
		hosts: map[string]*host{}, at: map[string]*host{}, reasons: map[string]string{}, waiting: map[string]string{},
		budget: 8*len(c.Jobs) + 8,
	}
	for i := range c.Machines {
		s.hosts[c.Machines[i].ID] = newHost(&c.Machines[i])
		if !c.Machines[i].Away {
			s.live++
		}
	}
	s.ids = slices.Sorted(maps.Keys(s.hosts))
	for i := range c.Jobs {
		s.jobs = append(s.jobs, &c.Jobs[i])
	}
	slices.SortFunc(s.jobs, func(a, b *Job) int { return cmp.Compare(a.Name, b.Name) })
	s.replaces = newReplacements(s.jobs)
	slices.SortStableFunc(s.jobs, s.order)
	return s
}

// order has units that replace others before those, as they decide where the
// others can be, and is by name else.
func (s *state) order(a, b *Job) int {
	return cmp.Or(cmp.Compare(s.replaces.rank[b.Name], s.replaces.rank[a.Name]), cmp.Compare(a.Name, b.Name))
}

func (s *state) put(j *Job, h *host) {
	h.add(j)
	s.at[j.Name] = h
}

// evict takes a unit off its machine; it waits for another. Global units that
// it kept away can come.
func (s *state) evict(j *Job, reason string) {
	h := s.at[j.Name]
	h.remove(j.Name)
	h.setGlobals(s.globals)
	delete(s.at, j.Name)
	s.want(j, reason)
}

func (s *state) want(j *Job, reason string) {
	s.reasons[j.Name] = reason
	s.pending = append(s.pending, j)
}

// keep leaves units where they are as far as machines and units there allow;
// of two that cannot be together the first stays.
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
		case h.Away:
			s.put(j, h)
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
	if name := first(h.choosy, func(other *Job) bool { return s.replaces.has(other, j) }); name != "" {
		return fmt.Sprintf("replaced by locally-scheduled Unit(%s)", name)
	}
	return ""
}

// displace makes the units leave that a new one replaces.
func (s *state) displace(h *host, j *Job) {
	if len(j.Rules.Replaces) == 0 {
		return
	}
	for _, name := range h.names() {
		if other := h.units[name]; other != nil && !other.Rules.Global && s.replaces.has(j, other) {
			s.evict(other, fmt.Sprintf("found replace with locally-scheduled Unit(%s)", j.Name))
		}
	}
}

// addGlobals adds the global units. From then on each machine has those that
// its other units allow.
func (s *state) addGlobals(globals []*Job) {
	s.globals = globals
	for _, id := range s.ids {
		s.hosts[id].setGlobals(globals)
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
// that make others leave by being followed. Units for which no machine was
// found stay on one that is draining: better there than nowhere.
func (s *state) place() {
	for changed := true; changed; {
		for s.placeWith(s.choose) {
		}
		changed = s.placeWith(s.stay)
	}
}

// placeWith goes over the units that wait, until one that was placed makes
// others leave.
func (s *state) placeWith(choose func(*Job) (*host, string)) (changed bool) {
	waiting := s.pending
	s.pending = nil
	slices.SortFunc(waiting, s.order)
	for i, j := range waiting {
		h, reason := choose(j)
		if h == nil || s.budget == 0 {
			s.waiting[j.Name] = cmp.Or(reason, s.waiting[j.Name])
			s.pending = append(s.pending, j)
			continue
		}
		delete(s.waiting, j.Name)
		s.put(j, h)
		s.budget--
		changed = true
		before := len(s.pending)
		s.displace(h, j)
		s.followPeers()
		if len(s.pending) > before {
			s.pending = append(s.pending, waiting[i+1:]...)
			break
		}
	}
	return changed
}

// stay gives the machine of a unit if it is draining.
func (s *state) stay(j *Job) (*host, string) {
	if h := s.hosts[j.Target]; h != nil && h.Draining && s.refuses(h, j) == "" {
		return h, ""
	}
	return nil, ""
}

// choose gives the machine for a unit: the one that it has or runs on, else the
// one with the fewest units. If there is none it says why.
func (s *state) choose(j *Job) (*host, string) {
	var best *host
	reason := "no agents able to run job"
	if s.live == 0 {
		reason = "zero agents available"
	}
	for _, id := range s.ids {
		h := s.hosts[id]
		if h.Draining || h.Away {
			continue
		}
		if no := s.refuses(h, j); no != "" {
			if s.live == 1 || len(j.Rules.Peers) > 0 || unit.MatchMachine(j.Rules.MachineID, h.ID) {
				reason = no
			}
			continue
		}
		if h.ID == j.Runs || h.ID == j.Target {
			return h, ""
		}
		if best == nil || len(h.units) < len(best.units) {
			best = h
		}
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
	slices.SortFunc(s.jobs, func(a, b *Job) int { return cmp.Compare(a.Name, b.Name) })
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
	if h := s.hosts[j.Target]; h != nil && h.Draining {
		return Nowhere, s.waiting[j.Name]
	}
	return Nowhere, s.reasons[j.Name]
}
