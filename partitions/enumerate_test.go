package partitions_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// pair is the attributes of two slots.
type pair [2]partitions.Attributes

func (p pair) slots() []partitions.Partition {
	var list []partitions.Partition
	for i, a := range p {
		list = append(list, partitions.Partition{Number: i, Type: uuid.MustParse(partitions.TypeUSR), Attributes: a})
	}
	return list
}

// chooser returns a function that tells the slot that boots, -1 if none does.
func chooser() func(pair) int {
	table := &partitions.Table{Partitions: pair{}.slots()}
	return func(p pair) int {
		table.Partitions[0].Attributes, table.Partitions[1].Attributes = p[0], p[1]
		if n, ok := partitions.Next(table); ok {
			return n
		}
		return -1
	}
}

// with is the pair with other attributes for one slot.
func (p pair) with(slot int, a partitions.Attributes) pair {
	p[slot] = a
	return p
}

// everyPair visits all attributes that two slots can have, 2^18 pairs.
func everyPair(visit func(pair)) {
	for i := range partitions.Attributes(1 << 9) {
		for j := range partitions.Attributes(1 << 9) {
			visit(pair{i << 48, j << 48})
		}
	}
}

// Whatever the attributes of two slots are: if the machine is switched off and
// on again and again before anything is found good, a slot that is proven
// stays so and keeps its priority, a slot that is not is started at most as
// often as it has tries, and if any slot is proven, there is one to boot for
// ever, in the end the best proven one.
func TestPowerCyclingFromEveryPair(t *testing.T) {
	next := chooser()
	everyPair(func(start pair) {
		now, starts := start, [2]int{}
		n := next(now)
		for ; n >= 0; n = next(now) {
			before := now
			now = now.with(n, now[n].Tried())
			starts[n]++
			if now == before {
				break // and so on for ever
			}
		}
		for i, a := range start {
			if a.Successful() != now[i].Successful() || a.Priority() != now[i].Priority() {
				t.Fatalf("%v: slot %d ended as %v", start, i, now[i])
			}
			if !a.Successful() && starts[i] > a.Tries() {
				t.Fatalf("%v: slot %d was started %d times", start, i, starts[i])
			}
		}
		best := -1
		for i, a := range start {
			proven := a.Successful() && a.Priority() > 0
			if proven && (best < 0 || a.Priority() > start[best].Priority()) {
				best = i
			}
		}
		if n != best {
			t.Fatalf("%v: ended as %v, which boots %d, want %d", start, now, n, best)
		}
	})
}

// A slot found good while it runs boots next time unless another one is asked
// for, and nothing that was proven is lost by it.
func TestGoodFromEveryPair(t *testing.T) {
	next := chooser()
	everyPair(func(start pair) {
		n := next(start)
		if n < 0 {
			return
		}
		now := start.with(n, start[n].Tried())
		now = now.with(n, now[n].WithSuccessful(true).WithTries(0))
		if next(now) != n || !now[n].Bootable() || now[1-n] != start[1-n] {
			t.Fatalf("%v: slot %d was found good: %v, which boots %d", start, n, now, next(now))
		}
	})
}

// Prioritize never takes the last slot to boot, from any pair and for any
// ranking.
func TestPrioritizeEveryPair(t *testing.T) {
	next := chooser()
	rankings := []partitions.Ranking{{}, {First: 1}, {First: 1, Friends: true}, {Top: 1}, {Top: 15, First: 1}}
	everyPair(func(start pair) {
		if start[0].Tries() > 1 || start[1].Tries() > 1 {
			return // the same as 1
		}
		slots := start.slots()
		for _, r := range rankings {
			changes, err := partitions.Prioritize(slots, r)
			require.NoError(t, err)
			now := start
			for n, a := range changes {
				now = now.with(n, a)
			}
			if next(start) >= 0 && next(now) < 0 {
				t.Fatalf("%v, %+v: %v", start, r, now)
			}
			friends := r.Friends && start[0].Priority() == start[1].Priority()
			if r.First == 1 && !friends && start[1].WithPriority(1).Bootable() && next(now) != 1 {
				t.Fatalf("%v, %+v: %v boots %d", start, r, now, next(now))
			}
		}
	})
}

// life is a machine as far as the choice of a slot goes.
type life struct {
	slots pair
	// runs is the slot that runs, -1 if the machine is off.
	runs int
	// whole says which slots have all of their content.
	whole [2]bool
	// bad says that the content of a slot never gets healthy.
	bad [2]bool
	// starts is how often a slot was started since its content was written.
	starts [2]int
	// proven is the slot that was last found good.
	proven int
	tries  int
}

// steps are what can happen next: the power fails or comes back, the running
// slot is found good, or an update goes a step further, for good or bad.
func (l life) steps(choose func(pair) int) []life {
	if l.runs < 0 {
		n := choose(l.slots)
		if n < 0 {
			return nil
		}
		l.slots = l.slots.with(n, l.slots[n].Tried())
		l.runs = n
		l.starts[n] = min(l.starts[n]+1, 20)
		return []life{l}
	}
	off := l
	off.runs = -1
	list := []life{off}
	if running := l.slots[l.runs]; !l.bad[l.runs] && (!running.Successful() || running.Tries() > 0) {
		good := l
		good.slots = l.slots.with(l.runs, running.WithSuccessful(true).WithTries(0))
		good.proven = l.runs
		list = append(list, good)
	}
	if !l.slots[l.runs].Successful() {
		return list // updates are for a machine that is well
	}
	other := 1 - l.runs
	switch {
	case l.slots[other].Priority() > 0: // the first step: it must not be booted
		next := l
		next.slots = l.slots.with(other, partitions.Slot(0, 0, false))
		list = append(list, next)
	case !l.whole[other] || l.starts[other] > 0:
		for _, bad := range []bool{false, true} {
			next := l
			next.whole[other], next.bad[other], next.starts[other] = true, bad, 0
			list = append(list, next)
		}
		next := l
		next.whole[other] = false // half written
		list = append(list, next)
	default:
		next := l
		changes, _ := partitions.Prioritize(l.slots.slots(), partitions.Ranking{First: other})
		for n, a := range changes {
			next.slots = next.slots.with(n, a)
		}
		next.slots = next.slots.with(other, next.slots[other].WithTries(l.tries).WithSuccessful(false))
		list = append(list, next)
	}
	return list
}

// From the disk as shipped, every state that updates, bad versions and power
// cuts can lead to has a slot to boot, never one whose content is not whole;
// a version that never gets healthy is started as often as it has tries and
// then never again; and the slot that was found good last is never lost as
// long as it is the one to fall back to.
func TestEveryLifeOfAMachine(t *testing.T) {
	choose := chooser()
	for tries := 1; tries <= 15; tries += 7 {
		start := life{
			slots: pair{partitions.Slot(1, 0, true), partitions.Slot(0, 0, false)},
			runs:  -1, whole: [2]bool{true, false}, tries: tries,
		}
		seen := map[life]bool{start: true}
		for queue := []life{start}; len(queue) > 0; queue = queue[1:] {
			l := queue[0]
			if choose(l.slots) < 0 {
				t.Fatalf("no slot to boot: %+v", l)
			}
			for i, a := range l.slots {
				if a.Bootable() && !l.whole[i] {
					t.Fatalf("slot %d may be booted and is not whole: %+v", i, l)
				}
				if l.bad[i] && (l.starts[i] > tries || a.Successful()) {
					t.Fatalf("slot %d is bad and was started %d times: %+v", i, l.starts[i], l)
				}
			}
			if a := l.slots[l.proven]; !a.Successful() || !a.Bootable() {
				t.Fatalf("slot %d was found good and is lost: %+v", l.proven, l)
			}
			for _, next := range l.steps(choose) {
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
		t.Logf("%d tries: %d states", tries, len(seen))
		assert.Greater(t, len(seen), 100)
	}
}
