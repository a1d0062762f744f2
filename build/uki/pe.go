package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The parts of the PE/COFF format that matter here, from Microsoft's "PE
// Format" specification (learn.microsoft.com/windows/win32/debug/pe-format).
const (
	peOffsetField   = 0x3c // in the DOS header: where the PE signature is
	coffHeaderSize  = 20
	sectionSize     = 40
	magicPE32Plus   = 0x20b
	machineAMD64    = 0x8664
	machineARM64    = 0xaa64
	maxSections     = 96
	maxHeaders      = 1 << 16
	minOptionalSize = 112

	// Offsets from the optional header.
	optInitializedData  = 8
	optSectionAlignment = 32
	optFileAlignment    = 36
	optSizeOfImage      = 56
	optSizeOfHeaders    = 60
	optCheckSum         = 64
	optDirectoryCount   = 108
	optDirectories      = 112
	directorySecurity   = 4

	// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
	dataSection = 0x40000040
)

// peHeader is what Read and Write need of a PE file's headers.
type peHeader struct {
	raw              []byte // the file from 0 to the end of the section table
	optional         int    // where the optional header starts in raw
	table            int    // where the section table starts in raw
	sectionAlignment uint32
	fileAlignment    uint32
	sizeOfHeaders    uint32
	signature        uint32 // size of the Authenticode signature table
	sections         []sectionHeader
}

type sectionHeader struct {
	name           string
	virtualSize    uint32
	virtualAddress uint32
	rawSize        uint32
	rawOffset      uint32
}

// readHeader reads and checks the headers of a 64-bit PE file. It reads at
// most 64 KiB.
func readHeader(r io.ReaderAt, size int64) (*peHeader, error) {
	var dos [peOffsetField + 4]byte
	if err := readFull(r, dos[:], 0); err != nil {
		return nil, err
	}
	if string(dos[:2]) != "MZ" {
		return nil, errors.New("not a PE file: no MZ at the start")
	}
	pe := int64(binary.LittleEndian.Uint32(dos[peOffsetField:]))
	if pe > maxHeaders {
		return nil, fmt.Errorf("PE header: offset %d is beyond %d", pe, maxHeaders)
	}
	head := make([]byte, pe+4+coffHeaderSize)
	if err := readFull(r, head, 0); err != nil {
		return nil, err
	}
	if string(head[pe:pe+4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("not a PE file: no PE signature at %d", pe)
	}
	coff := head[pe+4:]
	machine := binary.LittleEndian.Uint16(coff)
	if machine != machineAMD64 && machine != machineARM64 {
		return nil, fmt.Errorf("PE header: machine is %#x, want %#x or %#x",
			machine, machineAMD64, machineARM64)
	}
	count := int(binary.LittleEndian.Uint16(coff[2:]))
	optionalSize := int(binary.LittleEndian.Uint16(coff[16:]))
	if count > maxSections {
		return nil, fmt.Errorf("PE header: %d sections, at most %d are read", count, maxSections)
	}
	if optionalSize < minOptionalSize {
		return nil, fmt.Errorf("PE header: optional header is %d bytes, want %d or more",
			optionalSize, minOptionalSize)
	}
	h := &peHeader{optional: len(head), table: len(head) + optionalSize}
	h.raw = make([]byte, h.table+count*sectionSize)
	if err := readFull(r, h.raw, 0); err != nil {
		return nil, err
	}
	if err := h.readOptional(); err != nil {
		return nil, err
	}
	return h, h.readSections(count, size)
}

func (h *peHeader) readOptional() error {
	opt := h.raw[h.optional:h.table]
	if magic := binary.LittleEndian.Uint16(opt); magic != magicPE32Plus {
		return fmt.Errorf("PE header: optional header has magic %#x, want %#x", magic, magicPE32Plus)
	}
	h.sectionAlignment = binary.LittleEndian.Uint32(opt[optSectionAlignment:])
	h.fileAlignment = binary.LittleEndian.Uint32(opt[optFileAlignment:])
	h.sizeOfHeaders = binary.LittleEndian.Uint32(opt[optSizeOfHeaders:])
	end := optDirectories + (directorySecurity+1)*8
	if binary.LittleEndian.Uint32(opt[optDirectoryCount:]) > directorySecurity && len(opt) >= end {
		h.signature = binary.LittleEndian.Uint32(opt[end-4:])
	}
	return nil
}

func (h *peHeader) readSections(count int, size int64) error {
	for i := range count {
		raw := h.raw[h.table+i*sectionSize:]
		name, _, _ := bytes.Cut(raw[:8], []byte{0})
		s := sectionHeader{
			name:           string(name),
			virtualSize:    binary.LittleEndian.Uint32(raw[8:]),
			virtualAddress: binary.LittleEndian.Uint32(raw[12:]),
			rawSize:        binary.LittleEndian.Uint32(raw[16:]),
			rawOffset:      binary.LittleEndian.Uint32(raw[20:]),
		}
		if end := int64(s.rawOffset) + int64(s.rawSize); end > size {
			return fmt.Errorf("section %q: ends at byte %d, the file at %d", s.name, end, size)
		}
		h.sections = append(h.sections, s)
	}
	return nil
}

func (s *sectionHeader) put(raw []byte) {
	clear(raw[:sectionSize])
	copy(raw[:8], s.name)
	binary.LittleEndian.PutUint32(raw[8:], s.virtualSize)
	binary.LittleEndian.PutUint32(raw[12:], s.virtualAddress)
	binary.LittleEndian.PutUint32(raw[16:], s.rawSize)
	binary.LittleEndian.PutUint32(raw[20:], s.rawOffset)
	binary.LittleEndian.PutUint32(raw[36:], dataSection)
}

// readFull is io.ReaderAt.ReadAt with one error for every short read.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("not a PE file: ends inside the headers, %d bytes wanted at %d",
			len(b), off)
	}
	return err
}
