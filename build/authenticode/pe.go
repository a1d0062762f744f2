package authenticode

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The parts of the PE/COFF format that matter here, from Microsoft's "PE
// Format" specification (learn.microsoft.com/windows/win32/debug/pe-format).
const (
	peOffsetField  = 0x3c // in the DOS header: where the PE signature is
	coffHeaderSize = 20
	sectionSize    = 40
	magicPE32Plus  = 0x20b
	maxSections    = 96
	maxHeaders     = 1 << 16

	// Offsets from the optional header of a 64-bit file.
	optSizeOfHeaders  = 60
	optCheckSum       = 64
	optDirectoryCount = 108
	optSecurity       = 112 + 4*8 // entry 4 of the data directories
	optMinimum        = optSecurity + 8

	// maxTable bounds the table of signatures, in bytes. A signature is 1 to
	// 10 KiB.
	maxTable = 1 << 20
	// tableAlignment is what a signature's place in the file is a multiple of.
	tableAlignment = 8
)

// layout says where the parts of a PE file are that a signature leaves out.
type layout struct {
	file      io.ReaderAt
	checksum  int64 // offset of the checksum, 4 bytes
	directory int64 // offset of the table's directory entry, 8 bytes
	end       int64 // of the content: where the table is, or the end of the file
	table     []byte
}

// readLayout reads the headers of a 64-bit PE file, at most 64 KiB, and its
// table of signatures, at most 1 MiB.
//
// It refuses files whose bytes are not all either headers, sections or what
// follows the last section, in this order and without gaps: signing tools and
// firmware hash such files differently.
func readLayout(r io.ReaderAt, size int64) (*layout, error) {
	var dos [peOffsetField + 4]byte
	if err := readFull(r, dos[:], 0); err != nil {
		return nil, err
	}
	if string(dos[:2]) != "MZ" {
		return nil, errors.New("not a PE file: no MZ at the start")
	}
	pe := int64(binary.LittleEndian.Uint32(dos[peOffsetField:]))
	if pe < int64(len(dos)) || pe > maxHeaders {
		return nil, fmt.Errorf("PE header: offset %d is not between %d and %d", pe, len(dos), maxHeaders)
	}
	var coff [4 + coffHeaderSize]byte
	if err := readFull(r, coff[:], pe); err != nil {
		return nil, err
	}
	if string(coff[:4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("not a PE file: no PE signature at %d", pe)
	}
	sections := int64(binary.LittleEndian.Uint16(coff[4+2:]))
	optionalSize := int64(binary.LittleEndian.Uint16(coff[4+16:]))
	if sections == 0 || sections > maxSections {
		return nil, fmt.Errorf("PE header: %d sections, 1 to %d are read", sections, maxSections)
	}
	if optionalSize < optMinimum {
		return nil, fmt.Errorf("PE header: optional header is %d bytes, want %d or more",
			optionalSize, optMinimum)
	}
	optional := pe + int64(len(coff))
	head := make([]byte, optionalSize+sections*sectionSize)
	if err := readFull(r, head, optional); err != nil {
		return nil, err
	}
	opt, table := head[:optionalSize], head[optionalSize:]
	if magic := binary.LittleEndian.Uint16(opt); magic != magicPE32Plus {
		return nil, fmt.Errorf("PE header: optional header has magic %#x, want %#x", magic, magicPE32Plus)
	}
	if n := binary.LittleEndian.Uint32(opt[optDirectoryCount:]); n <= 4 {
		return nil, fmt.Errorf("PE header: %d directories leave no place for signatures", n)
	}
	headers := int64(binary.LittleEndian.Uint32(opt[optSizeOfHeaders:]))
	if headers < optional+int64(len(head)) {
		return nil, fmt.Errorf("PE header: headers are %d bytes, they hold %d", headers, optional+int64(len(head)))
	}
	end, err := checkSections(table, headers)
	if err != nil {
		return nil, err
	}
	if end > size {
		return nil, fmt.Errorf("sections end at byte %d, the file at %d", end, size)
	}
	l := &layout{file: r, checksum: optional + optCheckSum, directory: optional + optSecurity, end: size}
	return l, l.readTable(opt[optSecurity:], end, size)
}

// checkSections wants the sections to follow the headers and each other and
// returns where the last one ends.
func checkSections(table []byte, headers int64) (int64, error) {
	type extent struct{ offset, size int64 }
	var extents []extent
	for s := range slices.Chunk(table, sectionSize) {
		e := extent{int64(binary.LittleEndian.Uint32(s[20:])), int64(binary.LittleEndian.Uint32(s[16:]))}
		if e.size != 0 {
			extents = append(extents, e)
		}
	}
	slices.SortFunc(extents, func(a, b extent) int { return int(a.offset - b.offset) })
	end := headers
	for _, e := range extents {
		if e.offset != end {
			return 0, fmt.Errorf("section at byte %d: what is before it ends at %d, "+
				"and programs disagree about what to sign then", e.offset, end)
		}
		end += e.size
	}
	return end, nil
}

// readTable reads the table of signatures that a directory entry names.
func (l *layout) readTable(entry []byte, sections, size int64) error {
	offset := int64(binary.LittleEndian.Uint32(entry))
	length := int64(binary.LittleEndian.Uint32(entry[4:]))
	if offset == 0 && length == 0 {
		return nil
	}
	if length > maxTable {
		return fmt.Errorf("signatures: table of %d bytes, at most %d are read", length, maxTable)
	}
	if offset%tableAlignment != 0 || offset < sections || offset+length != size {
		return fmt.Errorf("signatures: table is bytes %d to %d, want it between the sections' end, %d, "+
			"and the file's, %d", offset, offset+length, sections, size)
	}
	l.end = offset
	l.table = make([]byte, length)
	return readFull(l.file, l.table, offset)
}

// padding is how many zeros bring the content to a place for a table. They
// are content themselves.
func (l *layout) padding() int64 { return -l.end & (tableAlignment - 1) }

// digest is the SHA-256 that a signature is over ("Calculating the PE Image
// Hash" of Microsoft's paper).
func (l *layout) digest() ([sha256.Size]byte, error) {
	h := sha256.New()
	start := int64(0)
	for _, hole := range []struct{ offset, size int64 }{{l.checksum, 4}, {l.directory, 8}, {l.end, 0}} {
		if _, err := io.Copy(h, io.NewSectionReader(l.file, start, hole.offset-start)); err != nil {
			return [sha256.Size]byte{}, err
		}
		start = hole.offset + hole.size
	}
	h.Write(make([]byte, l.padding()))
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// write writes the file with another table, "" for none.
func (l *layout) write(w io.Writer, table []byte) error {
	head := make([]byte, l.directory+8)
	if err := readFull(l.file, head, 0); err != nil {
		return err
	}
	clear(head[l.checksum : l.checksum+4])
	clear(head[l.directory:])
	content := l.end
	if len(table) > 0 {
		content += l.padding()
		if content > 1<<32-1-maxTable {
			return fmt.Errorf("signatures: a file of %d bytes has no place for them", content)
		}
		binary.LittleEndian.PutUint32(head[l.directory:], uint32(content))
		binary.LittleEndian.PutUint32(head[l.directory+4:], uint32(len(table)))
	}
	parts := func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		body := io.NewSectionReader(l.file, int64(len(head)), l.end-int64(len(head)))
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		_, err := w.Write(append(make([]byte, content-l.end), table...))
		return err
	}
	var sum checksum
	if err := parts(&sum); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(head[l.checksum:], sum.value())
	return parts(w)
}

// checksum is the PE file's own checksum of all that is written to it: a sum
// of 16-bit words with the carry added in, plus the size.
type checksum struct {
	sum  uint64
	size uint64
}

func (c *checksum) Write(b []byte) (int, error) {
	for _, v := range b {
		c.sum += uint64(v) << (8 * (c.size & 1))
		c.size++
	}
	return len(b), nil
}

func (c *checksum) value() uint32 {
	sum := c.sum
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint32(sum) + uint32(c.size)
}

// readFull is io.ReaderAt.ReadAt with one error for every short read.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("not a PE file: ends early, %d bytes wanted at %d", len(b), off)
	}
	return err
}
