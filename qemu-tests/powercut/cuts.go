package powercut

import (
	"fmt"
	"iter"
	"math/rand/v2"
)

// cut selects from the sectors that were written between two syncs, by
// their number.
type cut struct {
	what  string
	a, b  int
	keeps func(i int) bool
}

func (c cut) String() string { return fmt.Sprintf("%s %d %d", c.what, c.a, c.b) }

// Bounds of what is visited in full.
const (
	maxSubset  = 10  // sectors or writes, of which every selection is taken
	maxPlaces  = 512 // sectors at which each kind of cut is made
	maxDropped = 48  // writes, of which one is left out before every other
)

// cuts are the selections that States lists.
func (e *epoch) cuts(rng *rand.Rand, random int) iter.Seq[cut] {
	n := len(e.parts)
	if n <= maxSubset {
		return subsets("of sectors", n, func(i int) int { return i })
	}
	return func(yield func(cut) bool) {
		families := []iter.Seq[cut]{
			e.orderly(places(n, rng)), e.dropped(), e.random(rng, random),
		}
		if e.writes() <= maxSubset {
			families = append(families, subsets("of writes", e.writes(), e.writeOf))
		}
		for _, f := range families {
			for c := range f {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// subsets are all selections of n things; of tells to which a sector belongs.
func subsets(what string, n int, of func(i int) int) iter.Seq[cut] {
	return func(yield func(cut) bool) {
		for mask := range 1 << n {
			c := cut{"selection " + what, mask, n, func(i int) bool { return mask>>of(i)&1 == 1 }}
			if !yield(c) {
				return
			}
		}
	}
}

// places are the sectors to cut at: all, or the ends and a sample.
func places(n int, rng *rand.Rand) []int {
	list := make([]int, 0, maxPlaces)
	if n <= maxPlaces {
		for i := range n {
			list = append(list, i)
		}
		return list
	}
	for i := range maxPlaces / 8 {
		list = append(list, i, n-1-i)
	}
	for len(list) < maxPlaces {
		list = append(list, rng.IntN(n))
	}
	return list
}

// orderly are the cuts at each of some sectors, and the borders of writes.
func (e *epoch) orderly(at []int) iter.Seq[cut] {
	return func(yield func(cut) bool) {
		for w := range e.writes() + 1 {
			k := e.starts[w]
			if !yield(cut{"writes up to", w, k, func(i int) bool { return i < k }}) {
				return
			}
		}
		for _, k := range at {
			w := e.writeOf(k)
			start, end := e.starts[w], e.starts[w+1]
			for _, c := range []cut{
				{"sectors up to", k, w, func(i int) bool { return i < k }},
				{"torn from its end at", k, w, func(i int) bool { return i < start || i >= k && i < end }},
				{"sectors from", k, w, func(i int) bool { return i >= k }},
				{"sector alone", k, w, func(i int) bool { return i == k }},
				{"all but sector", k, w, func(i int) bool { return i != k }},
			} {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// dropped leave out one write, or keep one alone.
func (e *epoch) dropped() iter.Seq[cut] {
	return func(yield func(cut) bool) {
		for w := range e.writes() {
			start, end := e.starts[w], e.starts[w+1]
			in := func(i int) bool { return i >= start && i < end }
			if !yield(cut{"all but write", w, w, func(i int) bool { return !in(i) }}) ||
				!yield(cut{"write alone", w, w, in}) {
				return
			}
			for upto := w + 2; upto <= e.writes() && e.writes() <= maxDropped; upto++ {
				stop := e.starts[upto]
				c := cut{"without write, and writes up to", w, upto, func(i int) bool { return i < stop && !in(i) }}
				if !yield(c) {
					return
				}
			}
		}
	}
}

// random keep each sector with some probability, of those up to some place;
// where not every selection of writes is visited, every other one keeps whole
// writes.
func (e *epoch) random(rng *rand.Rand, n int) iter.Seq[cut] {
	return func(yield func(cut) bool) {
		for k := range 2 * max(n, 0) {
			seed, stop := rng.Uint64(), 1+rng.IntN(len(e.parts))
			if k%4 < 2 {
				stop = len(e.parts)
			}
			share := []uint32{1, 4, 7}[k%3] // of eight
			unit, what := func(i int) int { return i }, "random sectors"
			if k%2 == 1 && e.writes() > maxSubset {
				unit, what = e.writeOf, "random writes"
			}
			c := cut{what, k, stop, func(i int) bool {
				return i < stop && chance(seed, unit(i)) < share
			}}
			if !yield(c) {
				return
			}
		}
	}
}

// chance draws a number from 0 to 7 for thing i (splitmix64).
func chance(seed uint64, i int) uint32 {
	x := seed + uint64(i+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x>>61) & 7
}
