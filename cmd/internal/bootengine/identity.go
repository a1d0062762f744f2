package bootengine

import (
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"slipway/partitions"
)

// tendTable mends a damaged partition table, and gives a disk that was never
// started an identity of its own, all in one crash-safe update. A table that
// cannot be written is no reason to stop.
func (e *engine) tendTable(d *disk, random io.Reader) error {
	damage := tableDamage(d.table)
	change, needed, err := planTable(d.table, random, e.firmware.refersTo)
	if err != nil || !needed {
		return err
	}
	if err := partitions.Update(d.file, d.table, change); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	if damage != "" {
		e.say("disk %s: mended its partition table: %s", d.name, damage)
	}
	// The kernel sees no partition where the primary table was bad. Nothing of
	// the disk is in use yet.
	if err := unix.IoctlSetInt(int(d.file.Fd()), unix.BLKRRPART, 0); err != nil {
		return fmt.Errorf("have the kernel read the partition table: %w", err)
	}
	return nil
}

// planTable says whether the table has to be written before anything else, and
// how: see tendTable. A disk that grew gets its backup table to its end.
func planTable(t *partitions.Table, random io.Reader, keep func(uuid.UUID) bool) (partitions.Change, bool, error) {
	change, personal, err := planIdentity(t, random, keep)
	change.Fit = true
	return change, personal || t.Damaged(), err
}

// tableDamage says what is bad about a table, "" if nothing is. A disk that
// grew is no damage.
func tableDamage(t *partitions.Table) string {
	var bad []string
	for _, c := range []struct {
		name string
		copy partitions.Copy
	}{{"primary", t.Primary}, {"backup", t.Backup}} {
		switch {
		case c.copy.HeaderErr != nil:
			bad = append(bad, fmt.Sprintf("%s: %v", c.name, c.copy.HeaderErr))
		case c.copy.EntriesErr != nil:
			bad = append(bad, fmt.Sprintf("%s: %v", c.name, c.copy.EntriesErr))
		}
	}
	if len(bad) == 0 && t.Damaged() && !t.Grown() {
		return "its two copies differed"
	}
	return strings.Join(bad, "; ")
}

// planIdentity says whether the disk still has the identity that every copy of
// an image has, and what to change: new UUIDs for the disk and its partitions.
// The slots keep theirs, which programs and people know, and so does what the
// firmware refers to. random is read only if there is something to change.
func planIdentity(t *partitions.Table, random io.Reader, keep func(uuid.UUID) bool) (partitions.Change, bool, error) {
	var c partitions.Change
	if t.DiskUUID != uuid.MustParse(partitions.UnsetDiskUUID) {
		return c, false, nil
	}
	var err error
	if c.DiskUUID, err = uuid.NewRandomFromReader(random); err != nil {
		return c, false, fmt.Errorf("disk UUID: %w", err)
	}
	for _, p := range t.Partitions {
		if strings.EqualFold(p.Type.String(), partitions.TypeUSR) || keep(p.UUID) {
			continue
		}
		if p.UUID, err = uuid.NewRandomFromReader(random); err != nil {
			return c, false, fmt.Errorf("partition UUID: %w", err)
		}
		c.Put = append(c.Put, p)
	}
	return c, true, nil
}
