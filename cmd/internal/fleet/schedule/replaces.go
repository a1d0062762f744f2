package schedule

import (
	"slices"

	"slipway/cmd/internal/fleet/unit"
)

// replacements says which unit makes which others leave its machine. A unit
// that could so make itself leave, in a circle of several, replaces none of
// that circle.
type replacements map[string][]string

func newReplacements(jobs []*Job) replacements {
	r := replacements{}
	for _, j := range jobs {
		if len(j.Rules.Replaces) == 0 {
			continue
		}
		for _, other := range jobs {
			if other != j && unit.MatchAny(j.Rules.Replaces, other.Name) {
				r[j.Name] = append(r[j.Name], other.Name)
			}
		}
	}
	straight := replacements{}
	for from, to := range r {
		for _, name := range to {
			if !r.reaches(name, from) {
				straight[from] = append(straight[from], name)
			}
		}
	}
	return straight
}

// reaches says whether a unit replaces another, in several steps perhaps.
func (r replacements) reaches(from, to string) bool {
	seen := map[string]bool{}
	queue := []string{from}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if name == to {
			return true
		}
		if !seen[name] {
			seen[name] = true
			queue = append(queue, r[name]...)
		}
	}
	return false
}

// has says whether one unit makes another leave.
func (r replacements) has(from, to string) bool { return slices.Contains(r[from], to) }
