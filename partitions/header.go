package partitions

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
)

const (
	signature     = "EFI PART"
	revision      = 0x00010000
	minHeaderSize = 92
	minEntrySize  = 128
	labelUnits    = 36

	// maxArray bounds the memory an entry array may ask for. 128 entries of
	// 128 bytes, the usual array, are 16 KiB.
	maxArray = 1 << 20
)

// Header is one of the two headers of a table, field by field (UEFI
// specification 2.10, 5.3.2). All places are in sectors.
type Header struct {
	Revision  uint32
	Size      uint32
	CRC       uint32
	LBA       uint64
	Alternate uint64
	FirstUsable,
	LastUsable uint64
	DiskUUID   uuid.UUID
	EntriesLBA uint64
	Entries    uint32
	EntrySize  uint32
	EntriesCRC uint32

	// tail is what a header longer than 92 bytes holds after its fields.
	tail []byte
}

// parseHeader reads the header that lies at sector lba. The bounds it checks
// are those of the disk and those that keep a header from pointing into
// partitions.
func parseHeader(sector []byte, lba, diskSectors int64) (Header, error) {
	if string(sector[:8]) != signature {
		return Header{}, fmt.Errorf("no header at sector %d", lba)
	}
	le := binary.LittleEndian
	h := decodeHeader(sector)
	if h.Size < minHeaderSize || int(h.Size) > len(sector) {
		return Header{}, fmt.Errorf("header at sector %d: size is %d", lba, h.Size)
	}
	sum := bytes.Clone(sector[:h.Size])
	le.PutUint32(sum[16:], 0)
	if got := crc32.ChecksumIEEE(sum); got != h.CRC {
		return Header{}, fmt.Errorf("header at sector %d: checksum is %08x, want %08x", lba, got, h.CRC)
	}
	h.tail = sum[minHeaderSize:]
	if h.Revision != revision {
		return Header{}, fmt.Errorf("header at sector %d: revision is %08x, want %08x", lba, h.Revision, revision)
	}
	if h.LBA != uint64(lba) {
		return Header{}, fmt.Errorf("header at sector %d: says it is at sector %d", lba, h.LBA)
	}
	if err := h.check(len(sector), diskSectors); err != nil {
		return Header{}, fmt.Errorf("header at sector %d: %w", lba, err)
	}
	return h, nil
}

// decodeHeader takes the fields apart and checks nothing.
func decodeHeader(b []byte) Header {
	le := binary.LittleEndian
	return Header{
		Revision:    le.Uint32(b[8:]),
		Size:        le.Uint32(b[12:]),
		CRC:         le.Uint32(b[16:]),
		LBA:         le.Uint64(b[24:]),
		Alternate:   le.Uint64(b[32:]),
		FirstUsable: le.Uint64(b[40:]),
		LastUsable:  le.Uint64(b[48:]),
		DiskUUID:    DecodeGUID(b[56:]),
		EntriesLBA:  le.Uint64(b[72:]),
		Entries:     le.Uint32(b[80:]),
		EntrySize:   le.Uint32(b[84:]),
		EntriesCRC:  le.Uint32(b[88:]),
	}
}

// check says whether the header's numbers make sense on the disk.
func (h Header) check(sectorSize int, diskSectors int64) error {
	size := h.EntrySize
	if size < minEntrySize || size&(size-1) != 0 || size > 4096 {
		return fmt.Errorf("entry size is %d", size)
	}
	if h.Entries == 0 || uint64(h.Entries)*uint64(size) > maxArray {
		return fmt.Errorf("number of entries is %d", h.Entries)
	}
	if h.FirstUsable > h.LastUsable || h.LastUsable >= uint64(diskSectors) {
		return fmt.Errorf("usable sectors are %d to %d on a disk of %d", h.FirstUsable, h.LastUsable, diskSectors)
	}
	first, last := h.EntriesLBA, h.EntriesLBA+uint64(h.arraySectors(sectorSize))-1
	before := h.LBA == 1 && first >= 2 && last < h.FirstUsable
	after := h.LBA != 1 && first > h.LastUsable && last < h.LBA
	if last < first || (!before && !after) {
		return fmt.Errorf("entries are at sectors %d to %d", first, last)
	}
	if h.LBA == 1 && h.FirstUsable < 3 || h.LBA != 1 && h.LBA <= h.LastUsable {
		return fmt.Errorf("usable sectors are %d to %d", h.FirstUsable, h.LastUsable)
	}
	return nil
}

// arrayBytes is the size of the entry array, without padding.
func (h Header) arrayBytes() int { return int(h.Entries) * int(h.EntrySize) }

// arraySectors is the size of the entry array in sectors, rounded up.
func (h Header) arraySectors(sectorSize int) int64 {
	return int64((h.arrayBytes() + sectorSize - 1) / sectorSize)
}

// mirrors says whether two headers describe the same table.
func (h Header) mirrors(o Header) bool {
	return h.Alternate == o.LBA && h.LBA == o.Alternate && h.DiskUUID == o.DiskUUID &&
		h.FirstUsable == o.FirstUsable && h.LastUsable == o.LastUsable &&
		h.Entries == o.Entries && h.EntrySize == o.EntrySize && h.EntriesCRC == o.EntriesCRC &&
		h.Size == o.Size && bytes.Equal(h.tail, o.tail)
}

// asPrimary turns a backup header into the primary one it belongs to, with
// the array in its usual place.
func (h Header) asPrimary() Header {
	h.LBA, h.Alternate = 1, h.LBA
	h.EntriesLBA = 2
	return h
}

// withEntries returns the header for another content of the array.
func (h Header) withEntries(array []byte) Header {
	h.EntriesCRC = crc32.ChecksumIEEE(array[:h.arrayBytes()])
	return h
}

// asBackup returns the backup header that belongs to primary header h when
// the backup lies at sector lba with its array right in front of it.
func (h Header) asBackup(lba int64, sectorSize int) Header {
	h.LBA, h.Alternate = uint64(lba), 1
	h.EntriesLBA = uint64(lba - h.arraySectors(sectorSize))
	return h
}

// encode makes the sector of the header, with its checksum.
func (h Header) encode(sectorSize int) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, signature)
	le.PutUint32(b[8:], h.Revision)
	le.PutUint32(b[12:], h.Size)
	le.PutUint64(b[24:], h.LBA)
	le.PutUint64(b[32:], h.Alternate)
	le.PutUint64(b[40:], h.FirstUsable)
	le.PutUint64(b[48:], h.LastUsable)
	PutGUID(b[56:], h.DiskUUID)
	le.PutUint64(b[72:], h.EntriesLBA)
	le.PutUint32(b[80:], h.Entries)
	le.PutUint32(b[84:], h.EntrySize)
	le.PutUint32(b[88:], h.EntriesCRC)
	copy(b[minHeaderSize:h.Size], h.tail)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:h.Size]))
	return b
}
