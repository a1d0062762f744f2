package partitions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
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
	if err := writeProtectiveMBR(dev, size/int64(l.SectorSize)); err != nil {
		return fmt.Errorf("write the protective MBR: %w", err)
	}
	t := &gpt.Table{
		LogicalSectorSize: l.SectorSize, PhysicalSectorSize: l.SectorSize,
		GUID: strings.ToUpper(l.DiskUUID.String()),
	}
	for _, p := range l.Partitions {
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: p.Number, Name: p.Label,
			Type: gpt.Type(strings.ToUpper(p.Type.String())), GUID: strings.ToUpper(p.UUID.String()),
			Start: uint64(p.Start), End: uint64(p.End()), Size: uint64(p.Size) * uint64(l.SectorSize),
			Attributes: uint64(p.Attributes),
		})
	}
	if err := t.Write(diskfsFile{dev}, size); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	return nil
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

// diskfsFile gives go-diskfs a Device in the shape it asks for. Writing a
// table uses WriteAt and Sync only.
type diskfsFile struct{ Device }

var errNotAFile = errors.New("internal error: not a file")

func (diskfsFile) Stat() (fs.FileInfo, error)     { return nil, errNotAFile }
func (diskfsFile) Read([]byte) (int, error)       { return 0, io.EOF }
func (diskfsFile) Seek(int64, int) (int64, error) { return 0, errNotAFile }
func (diskfsFile) Close() error                   { return nil }
