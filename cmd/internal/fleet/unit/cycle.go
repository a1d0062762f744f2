package unit

import (
	"maps"
	"slices"
	"strings"
)

// CycleError is a chain of units that ends where it began.
type CycleError struct {
	Option string   // by which they are chained
	Units  []string // the first and the last are the same
}

// Error implements error.
func (e CycleError) Error() string {
	return e.Option + " of units leads back to the first: " + strings.Join(e.Units, " -> ")
}

// CheckCycles says whether a unit closes a chain of MachineOf or Replaces with
// units that are there.
func CheckCycles(name string, r *Rules, others map[string]*Rules) error {
	all := maps.Clone(others)
	if all == nil {
		all = map[string]*Rules{}
	}
	all[name] = r
	if chain := findCycle(name, func(u string) []string {
		if rules := all[u]; rules != nil {
			return rules.Peers
		}
		return nil
	}); chain != nil {
		return CycleError{"MachineOf", chain}
	}
	names := slices.Sorted(maps.Keys(all))
	if chain := findCycle(name, func(u string) []string {
		rules := all[u]
		if rules == nil || len(rules.Replaces) == 0 {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
			return n == u || !MatchAny(rules.Replaces, n)
		})
	}); chain != nil {
		return CycleError{"Replaces", chain}
	}
	return nil
}

// findCycle gives a chain from a unit to itself, nil if there is none.
func findCycle(start string, next func(string) []string) []string {
	seen := map[string]bool{}
	var walk func(u string, chain []string) []string
	walk = func(u string, chain []string) []string {
		chain = append(chain, u)
		for _, n := range next(u) {
			if n == start {
				return append(chain, n)
			}
			if seen[n] {
				continue
			}
			seen[n] = true
			if found := walk(n, slices.Clip(chain)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(start, nil)
}
