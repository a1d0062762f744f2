package resolver

import (
	"maps"
	"slices"
)

// need is a group that some package, or an overlay, asks for.
type need struct {
	by    *choice // nil for an overlay
	why   string  // the overlay
	field string
	group Group
}

// String says who asks and for what.
func (n *need) String() string {
	if n.by == nil {
		return n.why
	}
	return n.by.node.pkg.Name + ": " + n.field + " " + n.group.String()
}

// choice is a package that was taken, and the need it was taken for.
type choice struct {
	node *node
	need *need
}

// state is a set of packages on its way to being complete.
type state struct {
	u         *universe
	chosen    map[string]*choice
	provided  map[string][]*choice // chosen packages by what they provide
	against   map[string][]refusal // conflicts of chosen packages by name
	undecided []*need              // several candidates, in order of discovery
	budget    *int
}

// refusal is a conflict of a chosen package.
type refusal struct {
	by *choice
	conflict
}

// maxDecisions bounds the search; Debian's dependencies need some tens.
const maxDecisions = 3000

func newState(u *universe) *state {
	budget := maxDecisions
	return &state{
		u: u, chosen: map[string]*choice{}, provided: map[string][]*choice{},
		against: map[string][]refusal{}, budget: &budget,
	}
}

// clone copies what add changes.
func (s *state) clone() *state {
	c := *s
	c.chosen = maps.Clone(s.chosen)
	c.provided = make(map[string][]*choice, len(s.provided))
	for k, v := range s.provided {
		c.provided[k] = slices.Clip(v)
	}
	c.against = make(map[string][]refusal, len(s.against))
	for k, v := range s.against {
		c.against[k] = slices.Clip(v)
	}
	c.undecided = slices.Clone(s.undecided)
	return &c
}

// solve takes everything that is without a choice, then makes the first choice
// that is left and tries its candidates in turn. What had to be taken anyhow
// often settles a choice, so it comes first.
func (s *state) solve(needs []*need) (*state, error) {
	if err := s.propagate(needs); err != nil {
		return nil, err
	}
	for len(s.undecided) > 0 {
		n := s.undecided[0]
		s.undecided = s.undecided[1:]
		if s.settled(n) {
			continue
		}
		var first error
		for _, candidate := range s.candidates(n) {
			if *s.budget--; *s.budget < 0 && first != nil {
				break
			}
			try := s.clone()
			more, err := try.add(candidate, n)
			if err == nil {
				try, err = try.solve(more)
			}
			if err == nil {
				return try, nil
			}
			if first == nil {
				first = err
			}
		}
		return nil, first
	}
	return s, nil
}

// propagate takes the packages that needs leave no choice about, and what those
// need in turn, wave by wave; so a package's reason is its shortest one.
func (s *state) propagate(wave []*need) error {
	for len(wave) > 0 {
		var next []*need
		for _, n := range wave {
			if s.settled(n) {
				continue
			}
			candidates := s.candidates(n)
			switch len(candidates) {
			case 0:
				return s.unsatisfiable(n)
			case 1:
				more, err := s.add(candidates[0], n)
				if err != nil {
					return err
				}
				next = append(next, more...)
			default:
				s.undecided = append(s.undecided, n)
			}
		}
		wave = next
	}
	return nil
}

// candidates lists what could fulfil a need.
func (s *state) candidates(n *need) []*node {
	if real := s.meant(n); real != nil {
		return []*node{real}
	}
	return s.u.candidates(n.group)
}

// meant is the package that an overlay names, if it exists: not one that
// provides its name.
func (s *state) meant(n *need) *node {
	if n.by != nil {
		return nil
	}
	if real := s.u.candidate(n.group[0].Name); real != nil && real.satisfies(n.group[0]) {
		return real
	}
	return nil
}

// settled says whether a chosen package fulfils the need.
func (s *state) settled(n *need) bool {
	if real := s.meant(n); real != nil {
		return s.chosen[real.pkg.Name] != nil
	}
	for _, r := range n.group {
		if c := s.chosen[r.Name]; c != nil && c.node.satisfies(r) {
			return true
		}
		for _, c := range s.provided[r.Name] {
			if c.node.satisfies(r) {
				return true
			}
		}
	}
	return false
}

// add takes a package unless it conflicts with one that is there, and returns
// its needs.
func (s *state) add(n *node, reason *need) ([]*need, error) {
	c := &choice{node: n, need: reason}
	if err := s.conflicts(c); err != nil {
		return nil, err
	}
	s.chosen[n.pkg.Name] = c
	for _, p := range n.provides {
		s.provided[p.Name] = append(s.provided[p.Name], c)
	}
	for _, x := range n.conflicts {
		s.against[x.relation.Name] = append(s.against[x.relation.Name], refusal{c, x})
	}
	var needs []*need
	for _, d := range n.depends {
		needs = append(needs, &need{by: c, field: d.field, group: d.group})
	}
	return needs, nil
}

// conflicts looks both ways. A package never conflicts with itself: providing
// and refusing one name means "only one of us".
func (s *state) conflicts(c *choice) error {
	for _, x := range c.node.conflicts {
		if other := s.chosen[x.relation.Name]; other != nil && other.node.matches(x.relation) {
			return &ConflictError{A: c.chain(), B: other.chain(), Rule: rule(c, x)}
		}
		for _, other := range s.provided[x.relation.Name] {
			if other.node.matches(x.relation) {
				return &ConflictError{A: c.chain(), B: other.chain(), Rule: rule(c, x)}
			}
		}
	}
	names := []string{c.node.pkg.Name}
	for _, p := range c.node.provides {
		names = append(names, p.Name)
	}
	for _, name := range names {
		for _, x := range s.against[name] {
			if c.node.matches(x.relation) {
				return &ConflictError{A: x.by.chain(), B: c.chain(), Rule: rule(x.by, x.conflict)}
			}
		}
	}
	return nil
}

func rule(by *choice, x conflict) string {
	return by.node.pkg.Name + " " + x.field + " " + x.relation.String()
}
