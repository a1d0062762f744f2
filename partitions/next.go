package partitions

import (
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
	best := 0
	for _, p := range t.Partitions {
		if p.Type != usr() || slices.Contains(exclude, p.Number) || !p.Attributes.Bootable() {
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
