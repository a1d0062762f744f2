package schedule

import "slipway/cmd/internal/fleet/unit"

// replacements says which unit makes which others leave its machine. Units that
// could so make themselves leave, in a circle, do not replace each other.
type replacements struct {
	// rank is by unit: 0 for one that replaces none, the same for a circle, and
	// higher than that of those it replaces.
	rank map[string]int
}

// newReplacements finds the circles: the strongly connected components of the
// units that replace others, by Tarjan's algorithm.
func newReplacements(jobs []*Job) *replacements {
	r := &replacements{rank: map[string]int{}}
	var replacing []*Job
	for _, j := range jobs {
		if len(j.Rules.Replaces) > 0 {
			replacing = append(replacing, j)
		}
	}
	var (
		stack   []*Job
		index   = map[string]int{} // from 1, in the order they were met
		lowest  = map[string]int{}
		stacked = map[string]bool{}
		circles = 0
		visit   func(*Job)
	)
	visit = func(j *Job) {
		index[j.Name] = len(index) + 1
		lowest[j.Name] = index[j.Name]
		stack, stacked[j.Name] = append(stack, j), true
		for _, other := range replacing {
			if other == j || !unit.MatchAny(j.Rules.Replaces, other.Name) {
				continue
			}
			switch {
			case index[other.Name] == 0:
				visit(other)
				lowest[j.Name] = min(lowest[j.Name], lowest[other.Name])
			case stacked[other.Name]:
				lowest[j.Name] = min(lowest[j.Name], index[other.Name])
			}
		}
		if lowest[j.Name] != index[j.Name] {
			return
		}
		circles++
		for done := false; !done; {
			last := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			delete(stacked, last.Name)
			r.rank[last.Name] = circles
			done = last == j
		}
	}
	for _, j := range replacing {
		if index[j.Name] == 0 {
			visit(j)
		}
	}
	return r
}

// has says whether one unit makes another leave.
func (r *replacements) has(from, to *Job) bool {
	return from != to && r.rank[from.Name] != r.rank[to.Name] && unit.MatchAny(from.Rules.Replaces, to.Name)
}
