package bus

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
)

// The file of who is logged in, utmp(5), as glibc has it on 64-bit machines.
const (
	utmpPath    = "run/utmp"
	utmpSize    = 384
	utmpPID     = 4
	utmpLine    = 8
	utmpLineLen = 32
	userProcess = 7

	maxUtmp = 4096 * utmpSize
)

// login is one entry of somebody who is logged in.
type entry struct {
	line string // "pts/0"
	pid  int32
}

// readUtmp lists who is logged in. Without the file, nobody is known to be.
func readUtmp(path string) []entry {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUtmp))
	if err != nil {
		return nil
	}
	return parseUtmp(text)
}

// parseUtmp reads whole entries and leaves a rest alone.
func parseUtmp(text []byte) []entry {
	var list []entry
	for ; len(text) >= utmpSize; text = text[utmpSize:] {
		if binary.LittleEndian.Uint16(text) != userProcess {
			continue
		}
		line, _, _ := bytes.Cut(text[utmpLine:utmpLine+utmpLineLen], []byte{0})
		list = append(list, entry{string(line), int32(binary.LittleEndian.Uint32(text[utmpPID:]))})
	}
	return list
}
