package bus

import "encoding/binary"

// Utmp is an entry of utmp.
func Utmp(kind uint16, pid uint32, line string) string {
	b := make([]byte, utmpSize)
	binary.LittleEndian.PutUint16(b, kind)
	binary.LittleEndian.PutUint32(b[utmpPID:], pid)
	copy(b[utmpLine:utmpLine+utmpLineLen], line)
	return string(b)
}

// Lines are the terminals in utmp's text.
func Lines(text []byte) []string {
	lines := []string{}
	for _, e := range parseUtmp(text) {
		lines = append(lines, e.line)
	}
	return lines
}
