package resolver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// UnsatisfiableError says what is missing and who needs it.
type UnsatisfiableError struct {
	// Chain leads from the overlay down to who needs what is missing:
	// "overlay base", "docker.io 26.1.5", "containerd 1.7.24".
	Chain []string
	Need  string   // "Depends runc (>= 9)", or the package an overlay names
	Fact  string   // "the archive has runc 1.1.15", "there is no package of that name"
	Near  []string // names that look alike, if there is no package of that name
}

// Error is one line from the overlay down to what is missing.
func (e *UnsatisfiableError) Error() string {
	return fmt.Sprintf("%s: %s: %s", strings.Join(e.Chain, ": "), e.Need, e.Fact)
}

// Hint gives the near names, or is empty.
func (e *UnsatisfiableError) Hint() string {
	if len(e.Near) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(e.Near, ", ") + "?"
}

// ConflictError says which two packages cannot be together.
type ConflictError struct {
	A, B []string // chains from the overlay down to each of the two
	Rule string   // "exim4 Conflicts mail-transport-agent"
}

// Error is one line with the rule and both ways.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: wanted by %s; and by %s",
		e.Rule, strings.Join(e.A, ": "), strings.Join(e.B, ": "))
}

// chain is the way from the overlay to a chosen package.
func (c *choice) chain() []string {
	var all []string
	for at := c; at != nil; at = at.need.by {
		all = append(all, at.node.pkg.String())
		if at.need.by == nil {
			all = append(all, at.need.why)
		}
	}
	slices.Reverse(all)
	return all
}

// unsatisfiable explains a need without a candidate.
func (s *state) unsatisfiable(n *need) error {
	e := &UnsatisfiableError{Need: n.group.String()}
	if n.by == nil {
		e.Chain = []string{n.why}
		e.Need = fmt.Sprintf("package %q", e.Need)
	} else {
		e.Chain = n.by.chain()
		e.Need = n.field + " " + e.Need
	}
	var facts []string
	for _, r := range n.group {
		fact, unknown := s.u.fact(r)
		facts = append(facts, fact)
		if unknown {
			e.Near = append(e.Near, s.u.near(r.Name)...)
		}
	}
	e.Fact = strings.Join(facts, "; ")
	return e
}

// fact says what there is in place of what is wanted, and whether the name is
// unknown altogether.
func (u *universe) fact(r Relation) (string, bool) {
	if u.exclude[r.Name] {
		return r.Name + " is excluded", false
	}
	if n := u.candidate(r.Name); n != nil {
		if r.Arch != "" && !n.satisfies(r) && r.Matches(n.pkg.Version) {
			return fmt.Sprintf("the archive has %s for %s only", n.pkg.Name, n.pkg.Architecture), false
		}
		return "the archive has " + n.pkg.String(), false
	}
	var names []string
	for _, n := range u.providers(r.Name) {
		for _, p := range n.provides {
			if p.Name == r.Name {
				names = append(names, fmt.Sprintf("%s of %s", p, n.pkg.Name))
			}
		}
	}
	if len(names) > 0 {
		return "the archive has " + strings.Join(names, ", "), false
	}
	return "there is no package of that name", true
}

// near lists at most three names that look like the one that is unknown.
func (u *universe) near(name string) []string {
	type scored struct {
		name  string
		score int
	}
	limit := 1 + len(name)/4
	seen := map[string]bool{}
	var all []scored
	for _, x := range u.indexes {
		for other := range x.Names() {
			if seen[other] {
				continue
			}
			seen[other] = true
			if score, ok := likeness(name, other, limit); ok {
				all = append(all, scored{other, score})
			}
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, s := range all[:min(3, len(all))] {
		names = append(names, s.name)
	}
	return names
}

// likeness scores a name, small is alike: by edit distance, and names that the
// wanted one begins, or begin it, after those one edit away.
func likeness(want, name string, limit int) (int, bool) {
	if d := distance(want, name, limit); d <= limit {
		return 4 * d, true
	}
	if len(want) >= 3 && strings.HasPrefix(name, want) {
		return 6 + len(name) - len(want), true
	}
	if len(name) >= 3 && strings.HasPrefix(want, name+"-") {
		return 7 + len(want) - len(name), true
	}
	return 0, false
}

// distance is the Levenshtein distance, or more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
