package qemutests_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/qemu-tests/vm"
)

// TestLargeSectors starts a release from a disk whose sectors have 4096 bytes:
// the same partitions, other numbers in the table. BIOS machines do not start
// from such disks.
func TestLargeSectors(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		path := filepath.Join(t.TempDir(), "disk.img")
		writeLargeSectors(t, path, l.release)
		m := newMachine(t, l, bare(&vm.Config{Disk: path, Firmware: vm.UEFI, SectorSize: 4096}))
		m.up(t)
		m.runs(t, "USR-A", l.release)
		assert.Equal(t, "4096", m.run(t, "cat /sys/block/vda/queue/logical_block_size"))
		m.keep(t)
	})
}

// writeLargeSectors writes a release's disk for sectors of 4096 bytes.
func writeLargeSectors(t *testing.T, path string, r *release) {
	original, err := os.Open(r.path("slipway.img"))
	require.NoError(t, err)
	defer original.Close()
	info, err := original.Stat()
	require.NoError(t, err)
	small := layoutOf(t, original, info.Size())

	large := small
	large.SectorSize, large.DiskSectors, large.Partitions = 4096, small.DiskSectors/8, nil
	contents := map[string]disk.Content{}
	for _, p := range small.Partitions {
		offset, size := small.Offset(p), p.Size*512
		if p.Label == "EFI-SYSTEM" || p.Label == "USR-A" {
			contents[p.Label] = disk.Content{Data: io.NewSectionReader(original, offset, size), Size: size}
		}
		p.Start, p.Size = p.Start/8, p.Size/8
		if p.Label == "ROOT" { // up to the backup of the table
			p.Size = large.DiskSectors - 1 - 128*128/4096 - p.Start
		}
		large.Partitions = append(large.Partitions, p)
	}
	require.NoError(t, large.Validate())
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, disk.Write(t.Context(), file, &disk.Options{Layout: large, Contents: contents}))
}
