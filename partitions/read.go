package partitions

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrNoTable is what Read wraps when no usable partition table is on a disk.
var ErrNoTable = errors.New("no partition table")

// Read reads the partition table of a disk of size bytes. sectorSize is 512
// or 4096, or 0 to try both, 512 first.
//
// A table is read as long as one header and one entry array that match are
// left; Primary and Backup say what is bad. If both copies are good and
// differ, the primary one counts, as for UEFI, GRUB and Linux. The backup is
// looked for where the primary header says, then at the end of the disk.
// Otherwise the error wraps ErrNoTable and says why each copy is bad.
func Read(r io.ReaderAt, size int64, sectorSize int) (*Table, error) {
	switch sectorSize {
	case 512, 4096:
		return read(r, size, sectorSize)
	case 0:
		t, err := read(r, size, 512)
		if errors.Is(err, ErrNoTable) {
			if t, err4096 := read(r, size, 4096); err4096 == nil {
				return t, nil
			}
		}
		return t, err
	}
	return nil, fmt.Errorf("sector size is %d, want 512 or 4096", sectorSize)
}

func read(r io.ReaderAt, size int64, sectorSize int) (*Table, error) {
	d := disk{r: r, sectorSize: sectorSize, sectors: size / int64(sectorSize)}
	if d.sectors < 6 {
		return nil, fmt.Errorf("%w: disk is %d bytes", ErrNoTable, size)
	}
	t := &Table{SectorSize: sectorSize, DiskSectors: d.sectors}
	hint := d.readPrimary(&t.Primary)
	t.Backup = d.readBackup(hint)
	if t.Primary.HeaderErr != nil && t.Backup.HeaderErr != nil {
		return nil, fmt.Errorf("%w: primary: %w; backup: %w", ErrNoTable, t.Primary.HeaderErr, t.Backup.HeaderErr)
	}
	d.lendHeaders(t)
	t.crossCheck()
	if err := t.choose(); err != nil {
		return nil, err
	}
	return t, nil
}

// choose decides which header and which array to believe. A complete copy
// goes before a header and an array from different copies, and the primary
// one before the backup.
func (t *Table) choose() error {
	primary, backup := &t.Primary, &t.Backup
	switch {
	case primary.Valid():
		t.head, t.entries = primary.Header, primary.array
	case backup.Valid():
		t.head, t.entries = backup.Header.asPrimary(), backup.array
	case primary.HeaderErr == nil && backup.EntriesErr == nil:
		t.head, t.entries = primary.Header, backup.array
	case backup.HeaderErr == nil && primary.EntriesErr == nil:
		t.head, t.entries = backup.Header.asPrimary(), primary.array
	default:
		return fmt.Errorf("%w: primary: %w; backup: %w", ErrNoTable,
			errors.Join(primary.HeaderErr, primary.EntriesErr), errors.Join(backup.HeaderErr, backup.EntriesErr))
	}
	t.DiskUUID = t.head.DiskUUID
	t.FirstUsable, t.LastUsable = int64(t.head.FirstUsable), int64(t.head.LastUsable)
	var err error
	t.Partitions, err = parseEntries(t.entries, t.head)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	return nil
}

// disk reads whole sectors.
type disk struct {
	r          io.ReaderAt
	sectorSize int
	sectors    int64
}

func (d disk) read(lba, n int64) ([]byte, error) {
	if lba < 0 || n < 0 || lba > d.sectors-n {
		return nil, fmt.Errorf("sector %d is past the end of the disk", lba)
	}
	b := make([]byte, n*int64(d.sectorSize))
	if got, err := d.r.ReadAt(b, lba*int64(d.sectorSize)); got < len(b) {
		return nil, fmt.Errorf("read sector %d: %w", lba, err)
	}
	return b, nil
}

// readCopy reads the header at a sector and, if it is valid, its array. It
// returns the header's sector as well, nil if that cannot be read.
func (d disk) readCopy(c *Copy, lba int64) []byte {
	b, err := d.read(lba, 1)
	if err != nil {
		c.HeaderErr = err
		return nil
	}
	c.Header, c.HeaderErr = parseHeader(b, lba, d.sectors)
	if c.HeaderErr == nil {
		d.readArray(c, c.Header)
	}
	return b
}

// readPrimary reads the copy at sector 1 and returns where it says the
// backup is; a bad header's word is a hint worth trying as well.
func (d disk) readPrimary(c *Copy) (alternate uint64) {
	b := d.readCopy(c, 1)
	if len(b) == 0 || string(b[:8]) != signature {
		return uint64(d.sectors - 1)
	}
	return decodeHeader(b).Alternate
}

// readBackup reads the backup at the hinted place or at the end of the disk,
// whichever is in better condition.
func (d disk) readBackup(hint uint64) Copy {
	var atEnd, atHint Copy
	d.readCopy(&atEnd, d.sectors-1)
	if hint <= 1 || hint >= uint64(d.sectors-1) {
		return atEnd
	}
	d.readCopy(&atHint, int64(hint))
	if atHint.Valid() || (atHint.HeaderErr == nil && !atEnd.Valid()) {
		return atHint
	}
	return atEnd
}

// lendHeaders holds the array of a copy with a bad header against the header
// of the other copy.
func (d disk) lendHeaders(t *Table) {
	if t.Primary.HeaderErr != nil {
		d.readArray(&t.Primary, t.Backup.Header.asPrimary())
	}
	if t.Backup.HeaderErr != nil {
		h := t.Primary.Header
		d.readArray(&t.Backup, h.asBackup(backupPlace(h, d.sectorSize, d.sectors), d.sectorSize))
	}
}

// crossCheck is for two good headers of which neither has its own array: one
// of them may have the other's. The header that then has none counts as bad.
func (t *Table) crossCheck() {
	a, b := &t.Primary, &t.Backup
	if a.HeaderErr != nil || b.HeaderErr != nil || a.EntriesErr == nil || b.EntriesErr == nil {
		return
	}
	for _, c := range []struct{ orphan, parent *Copy }{{a, b}, {b, a}} {
		if c.orphan.array != nil && checkArray(c.orphan.array, c.parent.Header) == nil {
			c.orphan.HeaderErr = fmt.Errorf("header at sector %d: no entries match it", c.orphan.Header.LBA)
			c.orphan.EntriesErr = nil
			return
		}
	}
}

func (d disk) readArray(c *Copy, h Header) {
	b, err := d.read(int64(h.EntriesLBA), h.arraySectors(d.sectorSize))
	if err != nil {
		c.EntriesErr = err
		return
	}
	c.array = b
	c.EntriesErr = checkArray(b, h)
}

// checkArray says whether an array is the one header h describes.
func checkArray(array []byte, h Header) error {
	if len(array) < h.arrayBytes() {
		return fmt.Errorf("entries at sector %d: %d bytes, want %d", h.EntriesLBA, len(array), h.arrayBytes())
	}
	if got := crc32.ChecksumIEEE(array[:h.arrayBytes()]); got != h.EntriesCRC {
		return fmt.Errorf("entries at sector %d: checksum is %08x, want %08x", h.EntriesLBA, got, h.EntriesCRC)
	}
	if _, err := parseEntries(array, h); err != nil {
		return fmt.Errorf("entries at sector %d: %w", h.EntriesLBA, err)
	}
	return nil
}
