package partitions

import (
	"fmt"
	"slices"
)

// Next chooses the slot to boot, as CoreOS's GRUB command gptprio.next did
// (not as "cgpt next", which differs for priority 0 and falls back to the
// first slot): among partitions of type TypeUSR with tries left or proven
// successful, the one with the highest priority; the lowest number among
// equals; never one with priority 0. Slots whose number is in exclude are
// passed over, so that a caller can try the next best one. ok is false if
// no slot may be booted.
func Next(t *Table, exclude ...int) (number int, ok bool) {
	best, slot := 0, usr()
	for _, p := range t.Partitions {
		if p.Type != slot || slices.Contains(exclude, p.Number) || !p.Attributes.Bootable() {
			continue
		}
		if p.Attributes.Priority() > best {
			best, number = p.Attributes.Priority(), p.Number
		}
	}
	return number, best > 0
}

// Slots returns the partitions of type TypeUSR in the order of their numbers.
func (t *Table) Slots() []Partition {
	var slots []Partition
	for _, p := range t.Partitions {
		if p.Type == usr() {
			slots = append(slots, p)
		}
	}
	return slots
}

// Ranking says how Prioritize orders slots. The zero value closes the gaps
// between priorities and changes nothing else.
type Ranking struct {
	// First is the number of the slot to put in front of all others, 0 for
	// none.
	First int
	// Friends takes all slots of First's present priority along.
	Friends bool
	// Top is the highest priority to give, 1 to 15; 0 is as many as there
	// are different priorities.
	Top int
}

// Prioritize gives slots new priorities as "cgpt prioritize" does: groups of
// equal priority keep their order and get successive priorities from Top
// down, the last ones sharing 1. What has priority 0 keeps it unless it is
// First; nothing is lowered to 0. It returns the attributes of all slots that
// change, by number, and is pure.
func Prioritize(slots []Partition, r Ranking) (map[int]Attributes, error) {
	const front = nibble + 1
	first := slices.IndexFunc(slots, func(p Partition) bool { return p.Number == r.First })
	if r.First != 0 && first < 0 {
		return nil, fmt.Errorf("partition %d: not a slot", r.First)
	}
	rank := func(p Partition) int {
		same := r.Friends && r.First != 0 && p.Attributes.Priority() == slots[first].Attributes.Priority()
		if r.First != 0 && p.Number == r.First || same {
			return front
		}
		return p.Attributes.Priority()
	}
	var ranks []int
	for _, p := range slots {
		if n := rank(p); n > 0 {
			ranks = append(ranks, n)
		}
	}
	slices.SortFunc(ranks, func(a, b int) int { return b - a })
	ranks = slices.Compact(ranks)

	top := r.Top
	if top == 0 {
		top = min(len(ranks), nibble)
	}
	changes := map[int]Attributes{}
	for _, p := range slots {
		if i := slices.Index(ranks, rank(p)); i >= 0 {
			if a := p.Attributes.WithPriority(max(top-i, 1)); a != p.Attributes {
				changes[p.Number] = a
			}
		}
	}
	return changes, nil
}
