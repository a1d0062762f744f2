package cgpt

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"slipway/partitions"
)

// What cgpt takes for a good table, narrower than what package partitions
// reads: vboot's firmware/lib/cgptlib/cgptlib_internal.c.
const (
	headerBytes = 92
	maxHeader   = 512
	entrySize   = 128
	minEntries  = 16
	maxEntries  = 128

	signatureEFI     = "EFI PART"
	signatureLegacy  = "CHROMEOS"
	signatureIgnored = "IGNOREME"
)

// header is the sector of a table's header.
type header []byte

func (h header) u32(at int) uint32         { return binary.LittleEndian.Uint32(h[at:]) }
func (h header) u64(at int) uint64         { return binary.LittleEndian.Uint64(h[at:]) }
func (h header) put32(at int, n uint32)    { binary.LittleEndian.PutUint32(h[at:], n) }
func (h header) put64(at int, n uint64)    { binary.LittleEndian.PutUint64(h[at:], n) }
func (h header) signature() string         { return string(h[:8]) }
func (h header) revision() uint32          { return h.u32(8) }
func (h header) size() uint32              { return h.u32(12) }
func (h header) crc() uint32               { return h.u32(16) }
func (h header) lba() uint64               { return h.u64(24) }
func (h header) alternate() uint64         { return h.u64(32) }
func (h header) firstUsable() uint64       { return h.u64(40) }
func (h header) lastUsable() uint64        { return h.u64(48) }
func (h header) diskUUID() []byte          { return h[56:72] }
func (h header) entriesLBA() uint64        { return h.u64(72) }
func (h header) entries() uint32           { return h.u32(80) }
func (h header) entrySize() uint32         { return h.u32(84) }
func (h header) entriesCRC() uint32        { return h.u32(88) }
func (h header) arrayBytes() int           { return int(h.entries()) * int(h.entrySize()) }
func (h header) arraySectors(n int) uint64 { return uint64((h.arrayBytes() + n - 1) / n) }

// sum is what the header's checksum should be, over as much of it as its
// size field says.
func (h header) sum() uint32 {
	b := bytes.Clone(h[:min(int(h.size()), len(h))])
	if len(b) >= 20 {
		clear(b[16:20])
	}
	return crc32.ChecksumIEEE(b)
}

// sign sets the signature and makes the checksum right over the usual size.
func (h header) sign(signature string) {
	copy(h, signature)
	h.put32(16, 0)
	h.put32(16, crc32.ChecksumIEEE(h[:headerBytes]))
}

// sealArray makes the checksum of the entries right.
func (h header) sealArray(array []byte) { h.put32(88, crc32.ChecksumIEEE(array[:h.arrayBytes()])) }

// good says whether cgpt takes the header for valid.
func (h header) good(isSecondary bool, sectors uint64, sectorSize int) bool {
	if s := h.signature(); s != signatureEFI && s != signatureLegacy {
		return false
	}
	if h.revision() != 0x00010000 || h.size() < headerBytes || h.size() > maxHeader {
		return false
	}
	if h.sum() != h.crc() || h.u32(20) != 0 || h.entrySize() != entrySize || h.entries() != maxEntries {
		return false
	}
	array := h.arraySectors(sectorSize)
	if isSecondary {
		if h.lba() != sectors-1 || h.entriesLBA() != h.lba()-array {
			return false
		}
	} else if h.lba() != 1 || h.entriesLBA() < 2 {
		return false
	}
	return h.firstUsable() <= h.lastUsable() && h.firstUsable() >= 2+array && h.lastUsable() < sectors-1-array
}

// alike says whether two headers agree in all that copies share.
func (h header) alike(o header) bool {
	return h.signature() == o.signature() && bytes.Equal(h[8:16], o[8:16]) && h.u32(20) == o.u32(20) &&
		bytes.Equal(h[40:72], o[40:72]) && bytes.Equal(h[80:92], o[80:92])
}

// synonymous is alike without the checksum of the entries.
func (h header) synonymous(o header) bool {
	return bytes.Equal(h[40:72], o[40:72]) && bytes.Equal(h[80:88], o[80:88])
}

// entry is one partition entry as stored.
type entry []byte

func (e entry) kind() []byte   { return e[:16] }
func (e entry) unique() []byte { return e[16:32] }
func (e entry) first() uint64  { return binary.LittleEndian.Uint64(e[32:]) }
func (e entry) last() uint64   { return binary.LittleEndian.Uint64(e[40:]) }
func (e entry) size() uint64   { return e.last() - e.first() + 1 }
func (e entry) unused() bool   { return allZero(e.kind()) }
func (e entry) attributes() partitions.Attributes {
	return partitions.Attributes(binary.LittleEndian.Uint64(e[48:]))
}

func (e entry) put(at int, n uint64) { binary.LittleEndian.PutUint64(e[at:], n) }

func (e entry) setAttributes(a partitions.Attributes) {
	e.put(48, uint64(a))
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// entryAt is entry i, counting from 0, of an array.
func entryAt(array []byte, i int) entry { return entry(array[i*entrySize:][:entrySize]) }

// entryError is why cgpt refuses an entry array, "" if it does not.
type entryError string

// checkEntries looks at an array as cgpt does; the first fault found in the
// order of the entries is the one that is told.
func checkEntries(array []byte, h header) entryError {
	if crc32.ChecksumIEEE(array[:h.arrayBytes()]) != h.entriesCRC() {
		return "Entries' crc corrupted"
	}
	for i := range int(h.entries()) {
		e := entryAt(array, i)
		if e.unused() {
			continue
		}
		if e.first() < h.firstUsable() || e.last() > h.lastUsable() || e.last() < e.first() {
			return "Entry outside of valid region"
		}
		for j := range int(h.entries()) {
			o := entryAt(array, j)
			switch {
			case i == j || o.unused():
			case e.first() >= o.first() && e.first() <= o.last():
				return "Starting LBA overlaps"
			case e.last() >= o.first() && e.last() <= o.last():
				return "Ending LBA overlaps"
			case bytes.Equal(e.unique(), o.unique()):
				return "Duplicated GUID"
			}
		}
	}
	return ""
}

// checks is cgpt's judgement of a drive, in bits of copies.
type checks struct {
	validHeaders, validEntries, ignored int
}

// The outcomes of check, with the numbers and names of vboot's gpt_misc.h.
type checkError struct {
	number int
	name   string
}

func ok() checkError             { return checkError{0, "GPT_SUCCESS"} }
func invalidHeaders() checkError { return checkError{2, "GPT_ERROR_INVALID_HEADERS"} }
func invalidEntries() checkError { return checkError{3, "GPT_ERROR_INVALID_ENTRIES"} }
func invalidNumber() checkError  { return checkError{5, "GPT_ERROR_INVALID_SECTOR_NUMBER"} }

// check judges the drive as GptValidityCheck does.
func (d *drive) check() checkError {
	d.checks = checks{}
	if d.sectors < uint64(1+2*(1+minEntries/(d.sectorSize/entrySize))) {
		return invalidNumber()
	}
	var trusted header
	for i, h := range d.headers {
		switch {
		case h.good(i == secondary, d.sectors, d.sectorSize):
			d.validHeaders |= 1 << i
			if trusted == nil {
				trusted = h
			}
			if checkEntries(d.arrays[i], trusted) == "" {
				d.validEntries |= 1 << i
			}
		case h.signature() == signatureIgnored:
			d.ignored |= 1 << i
		}
	}
	if d.validHeaders == 0 {
		return invalidHeaders()
	}
	if d.validHeaders == maskBoth && d.validEntries == 0 {
		for i, a := range d.arrays {
			if checkEntries(a, d.headers[secondary]) == "" {
				d.validEntries |= 1 << i
			}
		}
		if d.validEntries != 0 {
			d.validHeaders &^= maskPrimary
		}
	}
	if d.validEntries == 0 {
		return invalidEntries()
	}
	if d.validHeaders == maskBoth && !d.headers[primary].alike(d.headers[secondary]) {
		d.validHeaders &^= maskSecondary
	}
	if d.ignored != 0 {
		d.pretend()
	}
	return ok()
}

// pretend fills an ignored copy in memory from the other one.
func (d *drive) pretend() {
	h1, h2 := d.headers[primary], d.headers[secondary]
	array := h1.arraySectors(d.sectorSize)
	switch d.validHeaders {
	case maskPrimary:
		copy(h2, h1[:headerBytes])
		h2.put64(24, d.sectors-1)
		h2.put64(32, 1)
		h2.put64(72, d.sectors-1-array)
		h2.put32(16, h2.sum())
	case maskSecondary:
		copy(h1, h2[:headerBytes])
		h1.put64(24, 1)
		h1.put64(32, d.sectors-1)
		h1.put64(72, 2)
		h1.put32(16, h1.sum())
	}
	switch d.validEntries {
	case maskPrimary:
		copy(d.arrays[secondary], d.arrays[primary])
	case maskSecondary:
		copy(d.arrays[primary], d.arrays[secondary])
	}
	d.validHeaders, d.validEntries = maskBoth, maskBoth
}

// any is the array to believe, after check succeeded.
func (d *drive) any() []byte {
	if d.validEntries&maskPrimary != 0 {
		return d.arrays[primary]
	}
	return d.arrays[secondary]
}

// checked runs check and prints why it failed.
func (d *drive) checked() bool {
	if e := d.check(); e != ok() {
		d.r.errorf("GptValidityCheck() returned %d: %s\n", e.number, e.name)
		return false
	}
	return true
}

// whole says whether every part of the table is good, and warns if not.
func (d *drive) whole() bool {
	if d.validHeaders != maskBoth || d.validEntries != maskBoth {
		d.r.warnf("One of the GPT headers/entries is invalid\n\n")
		return false
	}
	return true
}
