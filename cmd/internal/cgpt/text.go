package cgpt

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"

	"slipway/partitions"
)

// guidText shows a stored GUID as cgpt does, in capitals.
func guidText(b []byte) string { return strings.ToUpper(partitions.DecodeGUID(b).String()) }

// typeText describes a stored type; known is false if it has no name.
func typeText(b []byte) (text string, known bool) {
	id := partitions.DecodeGUID(b).String()
	for _, n := range partitions.TypeNames() {
		if n.Type == id {
			return n.Description, true
		}
	}
	return "", false
}

// isSlot says whether a stored type takes part in slot choice, CoreOS's or
// ChromeOS's.
func isSlot(b []byte) bool {
	id := partitions.DecodeGUID(b).String()
	return id == partitions.TypeUSR || id == partitions.TypeKernel
}

// guid parses a GUID argument. A bad one makes the original print FAILED.
func (r *run) guid(arg string) (id uuid.UUID, ok bool) {
	if len(arg) == 36 {
		if id, err := uuid.Parse(arg); err == nil {
			return id, true
		}
	}
	r.printf("FAILED\n")
	return uuid.UUID{}, false
}

// typeOrGUID parses the name of a type or a GUID.
func (r *run) typeOrGUID(arg string) (uuid.UUID, bool) {
	if id, ok := partitions.ParseType(arg); ok {
		return id, true
	}
	return r.guid(arg)
}

// labelBytes is how many bytes of a label the original has room to show.
const labelBytes = 71

// label decodes a stored label as far as it is good and fits; ok is false
// if it was cut short.
func (e entry) label() (text string, ok bool) {
	var b []byte
	var high rune
	for i := range 36 {
		u := rune(binary.LittleEndian.Uint16(e[56+2*i:]))
		if u == 0 || len(b) >= labelBytes {
			break
		}
		switch {
		case high == 0 && u >= 0xd800 && u <= 0xdbff:
			high = u
			continue
		case high != 0:
			if u < 0xdc00 || u > 0xdfff {
				return string(b), false
			}
			u, high = utf16.DecodeRune(high, u), 0
		}
		if len(b)+encodedSize(u) > labelBytes {
			return string(b), false
		}
		b = appendUnit(b, u)
	}
	return string(b), true
}

// encodedSize and appendUnit treat a lone low surrogate as any other
// character of three bytes, as the original does.
func encodedSize(u rune) int {
	if n := utf8.RuneLen(u); n > 0 {
		return n
	}
	return 3
}

func appendUnit(b []byte, u rune) []byte {
	if utf8.ValidRune(u) {
		return utf8.AppendRune(b, u)
	}
	return append(b, 0xe0|byte(u>>12), 0x80|byte(u>>6&0x3f), 0x80|byte(u&0x3f))
}

// setLabel stores a label of at most 35 UTF-16 units, cutting longer ones
// off, and leaves what is stored behind its end alone. It is false for text
// that is not valid or a character that is half cut off.
func (e entry) setLabel(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	at := 0
	for _, r := range text {
		units := utf16.AppendRune(nil, r)
		if at == 35 {
			break
		}
		if at+len(units) > 35 {
			return false
		}
		for _, u := range units {
			binary.LittleEndian.PutUint16(e[56+2*at:], u)
			at++
		}
	}
	binary.LittleEndian.PutUint16(e[56+2*at:], 0)
	return true
}
