package partitions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf16"

	"github.com/google/uuid"
)

// ErrChanged is what updates wrap when the table on the disk is not the one
// the caller read.
var ErrChanged = errors.New("partition table changed since it was read")

// ErrNoSlot is what changes wrap that would leave no slot to boot on a disk
// that has one.
var ErrNoSlot = errors.New("no bootable slot would be left")

// Change says what Update does to a table. The zero value changes nothing.
type Change struct {
	// Attributes replaces attributes by partition number and leaves every
	// other byte of the entries alone.
	Attributes map[int]Attributes
	// Entries replaces the whole entry array as stored, before everything
	// else; it must have the size of the one on the disk. It is for programs
	// that have to keep bytes no other field here can express.
	Entries []byte
	// Remove deletes partitions by number, before Put.
	Remove []int
	// Put adds partitions, or replaces those of the same number.
	Put []Partition
	// DiskUUID becomes the disk's UUID if it is not zero.
	DiskUUID uuid.UUID
	// Fit moves the backup to the end of the disk and, if the disk grew,
	// lets the usable sectors reach up to it.
	Fit bool

	// Force allows a change after which no slot may be booted any more.
	// Without it such a change is refused, unless none may be booted now.
	Force bool

	// resize changes sizes in sectors and leaves the other bytes alone.
	resize map[int]int64
}

// SetAttributes replaces the attributes of one partition, crash-safe as
// Update is. Setting what is set already writes nothing.
func SetAttributes(dev Device, t *Table, number int, a Attributes) error {
	return Update(dev, t, Change{Attributes: map[int]Attributes{number: a}})
}

// UseTry takes one of a slot's tries, to be called before booting from it,
// as CoreOS's gptprio.next does: a slot with tries left loses one, also when
// it is successful; for a slot without, nothing is written. The table on the
// disk and t hold the new number when it returns.
func UseTry(dev Device, t *Table, number int) error {
	p, ok := t.Partition(number)
	if !ok {
		return fmt.Errorf("partition %d: not in the table", number)
	}
	if p.Attributes.Tries() == 0 {
		return nil
	}
	// The last try of the only slot may be taken: it is about to boot.
	return Update(dev, t, Change{Attributes: map[int]Attributes{number: p.Attributes.Tried()}, Force: true})
}

// Repair makes both copies equal and good out of what Read found, moves the
// backup to the end of the disk, and writes nothing if all that is so.
func Repair(dev Device, t *Table) error { return Update(dev, t, Change{Fit: true}) }

// Grow repairs the table as Repair does and extends a partition up to the
// next one behind it or to the last usable sector. It never shrinks. The new
// end is not aligned, as with CoreOS's "cgpt resize": only the start of a
// partition matters for alignment.
func Grow(dev Device, t *Table, number int) error {
	end, err := t.Room(number)
	if err != nil {
		return err
	}
	p, _ := t.Partition(number)
	return Update(dev, t, Change{Fit: true, resize: map[int]int64{number: max(p.Size, end-p.Start+1)}})
}

// Room is the last sector a partition could reach if Grow extended it.
func (t *Table) Room(number int) (last int64, err error) {
	p, ok := t.Partition(number)
	if !ok {
		return 0, fmt.Errorf("partition %d: not in the table", number)
	}
	last = int64(t.fitted().LastUsable)
	for _, q := range t.Partitions {
		if q.Start > p.Start {
			last = min(last, q.Start-1)
		}
	}
	return last, nil
}

// Update writes a changed table. The table on the disk must still be the one
// in t, otherwise the error wraps ErrChanged; nothing is written before the
// result is known to be sound, with a slot to boot if there is one now. On
// success t is what is on the disk then.
//
// Only sectors that change are written, only in the two places of the table,
// and at every moment one copy is complete: a bad copy is first mended from
// the good one and synced; then the backup is written and synced; then the
// primary copy is written and synced.
func Update(dev Device, t *Table, c Change) error {
	size := t.DiskSectors * int64(t.SectorSize)
	now, err := Read(dev, size, t.SectorSize)
	if err != nil {
		return err
	}
	if now.DiskUUID != t.DiskUUID || !bytes.Equal(now.entries, t.entries) {
		return ErrChanged
	}
	head, entries, err := now.apply(c)
	if err != nil {
		return err
	}
	list, err := parseEntries(entries, head)
	if err != nil {
		return err
	}
	if _, was := Next(now); was && !c.Force {
		if _, is := Next(&Table{Partitions: list}); !is {
			return ErrNoSlot
		}
	}
	w := writer{dev: dev, sectorSize: t.SectorSize}
	if err := w.update(now, head, entries); err != nil {
		return err
	}
	after, err := Read(dev, size, t.SectorSize)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	*t = *after
	return nil
}

// apply makes the primary header and the array of the changed table.
func (t *Table) apply(c Change) (Header, []byte, error) {
	head, entries := t.head, bytes.Clone(t.entries)
	if c.Entries != nil {
		if len(c.Entries) != head.arrayBytes() {
			return Header{}, nil, fmt.Errorf("entry array is %d bytes, want %d", len(c.Entries), head.arrayBytes())
		}
		copy(entries, c.Entries)
	}
	if c.Fit {
		head = t.fitted()
	} else {
		head.Alternate = uint64(t.backupLBA())
	}
	if c.DiskUUID != (uuid.UUID{}) {
		head.DiskUUID = c.DiskUUID
	}
	entry := func(n int) ([]byte, error) {
		if _, ok := t.Partition(n); !ok {
			return nil, fmt.Errorf("partition %d: not in the table", n)
		}
		return entries[(n-1)*int(head.EntrySize):][:head.EntrySize], nil
	}
	for _, n := range slices.Sorted(maps.Keys(c.Attributes)) {
		e, err := entry(n)
		if err != nil {
			return Header{}, nil, err
		}
		binary.LittleEndian.PutUint64(e[entryAttrs:], uint64(c.Attributes[n]))
	}
	for n, size := range c.resize {
		e, err := entry(n)
		if err != nil {
			return Header{}, nil, err
		}
		first := binary.LittleEndian.Uint64(e[entryFirst:])
		binary.LittleEndian.PutUint64(e[entryLast:], first+uint64(size)-1)
	}
	for _, n := range c.Remove {
		e, err := entry(n)
		if err != nil {
			return Header{}, nil, err
		}
		clear(e)
	}
	for _, p := range c.Put {
		if err := p.check(int(head.Entries)); err != nil {
			return Header{}, nil, err
		}
		putEntry(entries, head, p)
	}
	return head.withEntries(entries), entries, nil
}

// fit returns the primary header for a disk of that many sectors.
func (h Header) fit(sectorSize int, diskSectors int64) Header {
	h.Alternate = uint64(diskSectors - 1)
	h.LastUsable = h.Alternate - uint64(h.arraySectors(sectorSize)) - 1
	return h
}

// check says whether the partition can be written as an entry at all.
func (p Partition) check(entries int) error {
	units := utf16.Encode([]rune(p.Label))
	switch {
	case p.Number < 1 || p.Number > entries:
		return fmt.Errorf("partition %d: number is not within 1 to %d", p.Number, entries)
	case p.Type == (uuid.UUID{}):
		return fmt.Errorf("partition %d: no type", p.Number)
	case p.Start < 1 || p.Size < 1:
		return fmt.Errorf("partition %d: start %d, size %d", p.Number, p.Start, p.Size)
	case len(units) > labelUnits:
		return fmt.Errorf("partition %d: label %q has %d UTF-16 units, at most %d fit",
			p.Number, p.Label, len(units), labelUnits)
	case slices.Contains(units, 0):
		return fmt.Errorf("partition %d: label %q holds a NUL", p.Number, p.Label)
	}
	return nil
}
