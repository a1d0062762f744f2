package partitions_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/powercut"
)

// diskfsFile is a disk in the shape go-diskfs asks for. Writing a table uses
// WriteAt and Sync only.
type diskfsFile struct{ *powercut.Disk }

func (diskfsFile) Stat() (fs.FileInfo, error)     { return nil, errors.New("not a file") }
func (diskfsFile) Read([]byte) (int, error)       { return 0, io.EOF }
func (diskfsFile) Seek(int64, int) (int64, error) { return 0, errors.New("not a file") }
func (diskfsFile) Close() error                   { return nil }

// Random tables, with sectors of both sizes, are byte for byte those that
// go-diskfs writes of the same partitions.
func TestGoDiskfsWritesTheSameTables(t *testing.T) {
	for seed := range uint64(60) {
		l := randomLayout(rand.New(rand.NewPCG(seed, 4)))
		table := &gpt.Table{
			LogicalSectorSize: l.SectorSize, PhysicalSectorSize: l.SectorSize,
			GUID: strings.ToUpper(l.DiskUUID.String()),
		}
		for _, p := range l.Partitions {
			table.Partitions = append(table.Partitions, &gpt.Partition{
				Index: p.Number, Name: p.Label,
				Type: gpt.Type(strings.ToUpper(p.Type.String())), GUID: strings.ToUpper(p.UUID.String()),
				Start: uint64(p.Start), End: uint64(p.End()), Size: uint64(p.Size) * uint64(l.SectorSize),
				Attributes: uint64(p.Attributes),
			})
		}
		theirs := powercut.New(l.DiskSize())
		require.NoError(t, table.Write(diskfsFile{theirs}, l.DiskSize()))
		ours := create(t, l)
		sameTable(t, fmt.Sprintf("seed %d: go-diskfs", seed), ours, theirs)
		read, err := gpt.Read(diskfsFile{ours}, l.SectorSize, l.SectorSize)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, len(l.Partitions), len(slices.DeleteFunc(read.Partitions, func(p *gpt.Partition) bool {
			return p.Type == gpt.Unused
		})), "seed %d", seed)
	}
}
