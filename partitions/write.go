package partitions

import (
	"bytes"
	"fmt"
)

// writer writes the copies of a table, sector by sector where they differ.
type writer struct {
	dev        Device
	sectorSize int
}

// update brings the disk from what t found on it to the given primary header
// and array, and never has both copies bad at once.
func (w writer) update(t *Table, head Header, entries []byte) error {
	backup, err := w.backupHeader(head, t)
	if err != nil {
		return err
	}
	if int64(head.EntriesLBA)+head.arraySectors(w.sectorSize) > int64(head.FirstUsable) {
		return fmt.Errorf("primary entries: no room before sector %d", head.FirstUsable)
	}
	if err := w.mend(t); err != nil {
		return fmt.Errorf("mend the table: %w", err)
	}
	if err := w.copy(backup, entries); err != nil {
		return fmt.Errorf("write the backup table: %w", err)
	}
	if err := w.copy(head, entries); err != nil {
		return fmt.Errorf("write the primary table: %w", err)
	}
	return nil
}

// backupHeader makes the backup's header for a new primary header. An array
// that lies in an unusual place stays there as long as the header stays.
func (w writer) backupHeader(head Header, t *Table) (Header, error) {
	b := head.asBackup(int64(head.Alternate), w.sectorSize)
	old := t.Backup.Header
	if t.Backup.HeaderErr == nil && old.LBA == b.LBA && old.arrayBytes() == b.arrayBytes() && old.EntriesLBA > b.LastUsable {
		b.EntriesLBA = old.EntriesLBA
	}
	if b.EntriesLBA <= b.LastUsable {
		return Header{}, fmt.Errorf("backup table: no room between sector %d and the end of the disk", b.LastUsable)
	}
	return b, nil
}

// mend completes the primary copy with the content that was read, if it is
// bad, so that the backup may be written over. If neither copy is complete,
// the one with the good header comes first.
func (w writer) mend(t *Table) error {
	if t.Primary.Valid() {
		return nil
	}
	if !t.Backup.Valid() && t.Backup.HeaderErr == nil {
		if err := w.copy(t.Backup.Header, t.entries); err != nil {
			return err
		}
	}
	head := t.head
	head.Alternate = uint64(t.backupLBA())
	return w.copy(head, t.entries)
}

// copy writes one copy, array and header, and syncs if anything was written.
func (w writer) copy(h Header, entries []byte) error {
	array, err := w.write(int64(h.EntriesLBA), entries)
	if err != nil {
		return err
	}
	header, err := w.write(int64(h.LBA), h.encode(w.sectorSize))
	if err != nil {
		return err
	}
	if !array && !header {
		return nil
	}
	return w.dev.Sync()
}

// write brings the sectors from lba on to the content of b, in as few writes
// as there are runs of sectors that differ.
func (w writer) write(lba int64, b []byte) (wrote bool, err error) {
	now := make([]byte, len(b))
	if n, _ := w.dev.ReadAt(now, lba*int64(w.sectorSize)); n < len(b) {
		// What cannot be read is written whole.
		now = nil
	}
	differs := func(i int) bool {
		return now == nil || !bytes.Equal(now[i:i+w.sectorSize], b[i:i+w.sectorSize])
	}
	for i := 0; i < len(b); {
		if !differs(i) {
			i += w.sectorSize
			continue
		}
		end := i + w.sectorSize
		for end < len(b) && differs(end) {
			end += w.sectorSize
		}
		if _, err := w.dev.WriteAt(b[i:end], lba*int64(w.sectorSize)+int64(i)); err != nil {
			return wrote, err
		}
		wrote, i = true, end
	}
	return wrote, nil
}
