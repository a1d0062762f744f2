package partitions

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf16"

	"github.com/google/uuid"
)

// Offsets inside an entry (UEFI specification 2.10, 5.3.3).
const (
	entryUUID  = 16
	entryFirst = 32
	entryLast  = 40
	entryAttrs = 48
	entryLabel = 56
)

// parseEntries makes partitions of an entry array whose checksum is right.
// Partitions outside the usable sectors or over one another are errors: such
// a table was made by no tool that can be trusted.
func parseEntries(array []byte, h Header) ([]Partition, error) {
	var list []Partition
	for i := range int(h.Entries) {
		e := array[i*int(h.EntrySize):][:h.EntrySize]
		kind := DecodeGUID(e)
		if kind == (uuid.UUID{}) {
			continue
		}
		first := binary.LittleEndian.Uint64(e[entryFirst:])
		last := binary.LittleEndian.Uint64(e[entryLast:])
		if first < h.FirstUsable || last > h.LastUsable || first > last {
			return nil, fmt.Errorf("partition %d: sectors %d to %d are not within %d to %d",
				i+1, first, last, h.FirstUsable, h.LastUsable)
		}
		list = append(list, Partition{
			Number:     i + 1,
			Label:      decodeLabel(e[entryLabel:]),
			Type:       kind,
			UUID:       DecodeGUID(e[entryUUID:]),
			Start:      int64(first),
			Size:       int64(last-first) + 1,
			Attributes: Attributes(binary.LittleEndian.Uint64(e[entryAttrs:])),
		})
	}
	if a, b, ok := overlap(list); ok {
		return nil, fmt.Errorf("partitions %d and %d overlap", a, b)
	}
	return list, nil
}

// overlap finds two partitions that share a sector.
func overlap(list []Partition) (a, b int, found bool) {
	byStart := slices.Clone(list)
	slices.SortFunc(byStart, func(p, q Partition) int {
		switch {
		case p.Start < q.Start:
			return -1
		case p.Start > q.Start:
			return 1
		}
		return p.Number - q.Number
	})
	for i := 1; i < len(byStart); i++ {
		if byStart[i-1].End() >= byStart[i].Start {
			return byStart[i-1].Number, byStart[i].Number, true
		}
	}
	return 0, 0, false
}

func decodeLabel(b []byte) string {
	units := make([]uint16, 0, labelUnits)
	for i := range labelUnits {
		u := binary.LittleEndian.Uint16(b[2*i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// putEntry writes partition p over its entry in an array.
func putEntry(array []byte, h Header, p Partition) {
	e := array[(p.Number-1)*int(h.EntrySize):][:h.EntrySize]
	clear(e[:minEntrySize])
	PutGUID(e, p.Type)
	PutGUID(e[entryUUID:], p.UUID)
	binary.LittleEndian.PutUint64(e[entryFirst:], uint64(p.Start))
	binary.LittleEndian.PutUint64(e[entryLast:], uint64(p.End()))
	binary.LittleEndian.PutUint64(e[entryAttrs:], uint64(p.Attributes))
	for i, u := range utf16.Encode([]rune(p.Label)) {
		binary.LittleEndian.PutUint16(e[entryLabel+2*i:], u)
	}
}
