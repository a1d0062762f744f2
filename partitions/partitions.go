// Package partitions reads and writes GUID partition tables (GPT) with the
// CoreOS slot attributes, chooses the slot to boot, and describes the disk of
// an image as data.
//
// Reading is tolerant: any one of the four parts of a table (two headers, two
// entry arrays) may be bad, and so may two of them as long as one header and
// one array that match are left. Writing is strict and crash-safe: at every
// moment, also with torn and reordered writes between two syncs, at least one
// complete copy is on the disk.
//
// The package knows no file names, device nodes or ioctls: callers pass a
// Device and its size. It does not touch what is inside a partition, it keeps
// no MBR partitions but the protective one, and it does not read the clock or
// a random source: every UUID comes from the caller.
//
// Formats: UEFI specification 2.10, chapter 5 (GPT); the attribute bits are
// those of ChromiumOS "disk format" as CoreOS used them.
package partitions

import (
	"io"
	"slices"

	"github.com/google/uuid"
)

// Device is a disk or an image file open for reading and writing. Sync
// returns when everything written before is on stable storage. *os.File is a
// Device.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Partition is one used entry of a table. Start and Size are in sectors of
// the table's sector size.
type Partition struct {
	// Number counts from 1, as in /dev/sda1; numbers may have gaps.
	Number int
	// Label is the partition's name, at most 36 UTF-16 units.
	Label string
	// Type says what the partition is for: see the Type constants.
	Type uuid.UUID
	// UUID is the partition's own identity (PARTUUID).
	UUID uuid.UUID
	// Start is the first sector.
	Start int64
	// Size is the number of sectors, at least 1.
	Size int64
	// Attributes are the entry's 64 flag bits.
	Attributes Attributes
}

// End is the last sector of the partition, inclusive.
func (p Partition) End() int64 { return p.Start + p.Size - 1 }

// Table is a partition table as read from a disk.
type Table struct {
	// SectorSize is the size of a sector in bytes: 512 or 4096.
	SectorSize int
	// DiskSectors is the size of the disk, which can be more than what the
	// table covers when the disk grew.
	DiskSectors int64
	// DiskUUID identifies the disk.
	DiskUUID uuid.UUID
	// FirstUsable and LastUsable bound, inclusive, where partitions may lie.
	FirstUsable, LastUsable int64
	// Partitions are the used entries in the order of their numbers.
	Partitions []Partition

	// Primary and Backup are the state of the two copies on the disk.
	Primary, Backup Copy

	// head and entries are what Partitions was made from: the header that
	// was believed, in its primary form, and the array as stored.
	head    Header
	entries []byte
}

// Copy is the state of one copy of the table on the disk.
type Copy struct {
	// Header is the copy's header; its fields mean something only if
	// HeaderErr is nil.
	Header Header
	// HeaderErr says why the header is not valid, nil if it is.
	HeaderErr error
	// EntriesErr says why the entry array is not valid, nil if it is. An
	// array is valid if a valid header vouches for it, the other copy's when
	// its own is bad.
	EntriesErr error

	// array is what was read as this copy's entry array, nil if nothing.
	array []byte
}

// Valid says whether the copy could be used if the other one did not exist.
func (c Copy) Valid() bool { return c.HeaderErr == nil && c.EntriesErr == nil }

// Damaged says whether a part of the table is bad or the two copies differ,
// so that Repair would write something. A backup that is not at the end of
// the disk counts as well.
func (t *Table) Damaged() bool {
	return !t.Primary.Valid() || !t.Backup.Valid() || !slices.Equal(t.Primary.array, t.Backup.array) ||
		!t.Primary.Header.mirrors(t.Backup.Header) || t.Grown()
}

// Grown says whether the disk has more sectors than the table covers, or one
// of the copies does not know yet that the backup is at the end of the disk.
func (t *Table) Grown() bool {
	end := t.DiskSectors - 1
	return t.backupLBA() != end || t.head.Alternate != uint64(end)
}

// fitted is the believed header for the disk as it is: its backup at the end
// and, if the disk grew, the usable sectors up to there.
func (t *Table) fitted() Header {
	if t.Grown() {
		return t.head.fit(t.SectorSize, t.DiskSectors)
	}
	return t.head
}

// Partition finds a partition by its number.
func (t *Table) Partition(number int) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Number == number {
			return p, true
		}
	}
	return Partition{}, false
}

// ByLabel finds the first partition that has the label.
func (t *Table) ByLabel(label string) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Label == label {
			return p, true
		}
	}
	return Partition{}, false
}

// ByUUID finds the partition with the UUID.
func (t *Table) ByUUID(id uuid.UUID) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.UUID == id {
			return p, true
		}
	}
	return Partition{}, false
}

// backupLBA is where the backup header is, or belongs if it is bad.
func (t *Table) backupLBA() int64 {
	if t.Backup.HeaderErr == nil {
		return int64(t.Backup.Header.LBA)
	}
	return backupPlace(t.head, t.SectorSize, t.DiskSectors)
}

// backupPlace is where primary header h wants its backup, or the end of the
// disk if what it says lies inside a partition or past the disk.
func backupPlace(h Header, sectorSize int, diskSectors int64) int64 {
	room := h.arraySectors(sectorSize)
	if h.Alternate < uint64(diskSectors) && int64(h.Alternate)-room > int64(h.LastUsable) {
		return int64(h.Alternate)
	}
	return diskSectors - 1
}
