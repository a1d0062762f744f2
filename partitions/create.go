package partitions

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/google/uuid"
)

// Create writes a fresh partition table onto a disk of size bytes, over
// whatever table was there. The layout must be valid and its disk not larger
// than size; if it is smaller, the table covers the whole disk and the rest
// is free. Boot code in the first 440 bytes is kept. Equal layouts and sizes
// give equal bytes.
func Create(dev Device, size int64, l Layout) error {
	if err := l.Validate(); err != nil {
		return err
	}
	if size < l.DiskSize() {
		return fmt.Errorf("layout: needs a disk of %d bytes, this one has %d", l.DiskSize(), size)
	}
	return create(dev, size, Empty{SectorSize: l.SectorSize, DiskUUID: l.DiskUUID}, l.Partitions)
}

// Empty says what CreateEmpty writes.
type Empty struct {
	// SectorSize is 512 or 4096 bytes.
	SectorSize int
	// DiskUUID identifies the disk.
	DiskUUID uuid.UUID
	// Padding is the number of sectors to leave free between the primary
	// header and its entries.
	Padding int64
}

// CreateEmpty writes a table without partitions onto a disk of size bytes,
// backup first, and a protective MBR that keeps the boot code.
func CreateEmpty(dev Device, size int64, e Empty) error {
	if e.SectorSize != 512 && e.SectorSize != 4096 {
		return fmt.Errorf("sector size is %d, want 512 or 4096", e.SectorSize)
	}
	return create(dev, size, e, nil)
}

// create writes a table and its protective MBR, the table's backup first.
func create(dev Device, size int64, e Empty, parts []Partition) error {
	h := Header{
		Revision: revision, Size: minHeaderSize, DiskUUID: e.DiskUUID,
		LBA: 1, EntriesLBA: uint64(2 + e.Padding), Entries: newEntries, EntrySize: minEntrySize,
	}
	sectors := size / int64(e.SectorSize)
	if room := sectors - 3 - 2*h.arraySectors(e.SectorSize); e.Padding < 0 || e.Padding >= room {
		return fmt.Errorf("disk of %d sectors has no room for a table with %d sectors of padding", sectors, e.Padding)
	}
	h.FirstUsable = h.EntriesLBA + uint64(h.arraySectors(e.SectorSize))
	h = h.fit(e.SectorSize, sectors)
	entries := make([]byte, h.arrayBytes())
	for _, p := range parts {
		putEntry(entries, h, p)
	}
	h = h.withEntries(entries)

	w := writer{dev: dev, sectorSize: e.SectorSize}
	if err := w.copy(h.asBackup(sectors-1, e.SectorSize), entries); err != nil {
		return fmt.Errorf("write the backup table: %w", err)
	}
	if err := w.copy(h, entries); err != nil {
		return fmt.Errorf("write the primary table: %w", err)
	}
	if err := writeProtectiveMBR(dev, sectors); err != nil {
		return fmt.Errorf("write the protective MBR: %w", err)
	}
	return dev.Sync()
}

// Layout of the first sector (UEFI specification 2.10, 5.2.3).
const (
	mbrPartitions = 446
	mbrSize       = 512
)

// writeProtectiveMBR writes the one partition that covers the disk, and the
// signature, behind the boot code. Past 2 TiB its size is all ones.
func writeProtectiveMBR(dev Device, sectors int64) error {
	b := make([]byte, mbrSize-mbrPartitions)
	entry := b[:16]
	entry[2] = 2 // sector 1 in cylinder, head, sector terms
	entry[4] = 0xee
	entry[5], entry[6], entry[7] = 0xff, 0xff, 0xff
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(sectors-1, math.MaxUint32)))
	b[len(b)-2], b[len(b)-1] = 0x55, 0xaa
	_, err := dev.WriteAt(b, mbrPartitions)
	return err
}
