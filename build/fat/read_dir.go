package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// rawEntry is a directory entry as read, long name and all.
type rawEntry struct {
	name  string
	dir   bool
	first uint32 // cluster
	size  int64
	mtime int64
	at    int // of the short entry in the directory, in bytes
}

// longName collects the entries of a long name, whose end comes first.
type longName struct {
	units []uint16
	left  int // entries still to come
	sum   byte
}

// decodeDir parses a directory up to its end mark. Deleted entries and the
// volume label are left out.
func decodeDir(dir []byte) ([]rawEntry, error) {
	var entries []rawEntry
	var long *longName
	for at := 0; len(dir)-at >= entrySize && dir[at] != 0; at += entrySize {
		e := dir[at:][:entrySize]
		switch attr := e[11]; {
		case e[0] == 0xE5: // deleted
			long = nil
		case attr&attrLongMask == attrLong:
			long = long.add(e)
		case attr&attrLabel != 0:
			long = nil
		default:
			entry, err := decodeShort(e, long)
			if err != nil {
				return nil, err
			}
			entry.at = at
			entries = append(entries, entry)
			long = nil
		}
	}
	return entries, nil
}

// add takes one more entry; nil is a name that makes no sense.
func (l *longName) add(e []byte) *longName {
	order := int(e[0])
	if order&lastLong != 0 {
		order &^= lastLong
		if order == 0 || order > maxNameUnits/unitsPerEntry+1 {
			return nil
		}
		l = &longName{make([]uint16, order*unitsPerEntry), order, e[13]}
	}
	if l == nil || order == 0 || order != l.left || e[13] != l.sum {
		return nil
	}
	l.left--
	for k, at := range longUnits() {
		l.units[l.left*unitsPerEntry+k] = binary.LittleEndian.Uint16(e[at:])
	}
	return l
}

// name is the name if it is whole and belongs to the short one.
func (l *longName) name(short [11]byte) (string, bool) {
	if l == nil || l.left != 0 || shortChecksum(short) != l.sum {
		return "", false
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units)), true
}

func decodeShort(e []byte, long *longName) (rawEntry, error) {
	le := binary.LittleEndian
	short := [11]byte(e[:11])
	raw := rawEntry{
		dir:   e[11]&attrDir != 0,
		first: (uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))) & entryMask,
		size:  int64(le.Uint32(e[28:])),
		mtime: unixTime(le.Uint16(e[24:]), le.Uint16(e[22:])),
	}
	if raw.dir && (short == packShort(".", "") || short == packShort("..", "")) {
		raw.name = unpackShort(short)
		return raw, nil
	}
	name, ok := long.name(short)
	if !ok {
		name = shortName(short, e[12])
	}
	if !validName(name) {
		return raw, fmt.Errorf("directory entry: bad name %q", name)
	}
	raw.name = name
	return raw, nil
}

// shortName spells out an 8.3 name. Bytes above 127 belong to a code page that
// is not recorded; they are taken for Latin-1.
func shortName(short [11]byte, flags byte) string {
	if short[0] == 0x05 {
		short[0] = 0xE5
	}
	spell := func(b []byte, lower bool) string {
		var s strings.Builder
		for _, c := range bytes.TrimRight(b, " ") {
			s.WriteRune(rune(c))
		}
		if lower {
			return strings.ToLower(s.String())
		}
		return s.String()
	}
	base, ext := spell(short[:8], flags&lowerBase != 0), spell(short[8:], flags&lowerExt != 0)
	if ext == "" {
		return base
	}
	return base + "." + ext
}
