package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"slipway/partitions"
)

// readBack reads the table of a new disk with go-diskfs, which has no code in
// common with package partitions, and compares it with the layout: a table that
// only its own writer understands must not leave the house.
func readBack(f File, l partitions.Layout) error {
	t, err := gpt.Read(diskfsFile{f}, l.SectorSize, l.SectorSize)
	if err != nil {
		return fmt.Errorf("partition table: another reader refuses it: %w", err)
	}
	if t.RecoveredFromBackup {
		return errors.New("partition table: another reader takes the backup for the primary")
	}
	got := map[int]*gpt.Partition{}
	for _, p := range t.Partitions {
		if p.Type != gpt.Unused {
			got[p.Index] = p
		}
	}
	if len(got) != len(l.Partitions) || !strings.EqualFold(t.GUID, l.DiskUUID.String()) {
		return fmt.Errorf("partition table: another reader sees disk %s with %d partitions, want %s with %d",
			t.GUID, len(got), l.DiskUUID, len(l.Partitions))
	}
	for _, p := range l.Partitions {
		if q := got[p.Number]; q == nil || !sameEntry(p, q) {
			return fmt.Errorf("partition table: another reader sees partition %d as %+v, want %+v", p.Number, q, p)
		}
	}
	return nil
}

func sameEntry(p partitions.Partition, q *gpt.Partition) bool {
	return q.Name == p.Label && q.Start == uint64(p.Start) && q.End == uint64(p.End()) &&
		q.Attributes == uint64(p.Attributes) && strings.EqualFold(q.GUID, p.UUID.String()) &&
		strings.EqualFold(string(q.Type), p.Type.String())
}

// diskfsFile is a File in the shape go-diskfs asks for. Reading a table uses
// ReadAt only.
type diskfsFile struct{ File }

var errNotAFile = errors.New("internal error: not a file")

func (diskfsFile) Stat() (fs.FileInfo, error)     { return nil, errNotAFile }
func (diskfsFile) Read([]byte) (int, error)       { return 0, io.EOF }
func (diskfsFile) Seek(int64, int) (int64, error) { return 0, errNotAFile }
func (diskfsFile) Close() error                   { return nil }
