package partitions_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// sectorAt is the content of a sector of 512 bytes.
func sectorAt(t testing.TB, d *powercut.Disk, lba int64) []byte {
	t.Helper()
	b := make([]byte, 512)
	_, err := d.ReadAt(b, lba*512)
	require.NoError(t, err)
	return b
}

// put writes at the beginning of a sector of 512 bytes.
func put(t testing.TB, d *powercut.Disk, lba int64, b []byte) {
	t.Helper()
	_, err := d.WriteAt(b, lba*512)
	require.NoError(t, err)
}

// edit changes a sector of 512 bytes.
func edit(t testing.TB, d *powercut.Disk, lba int64, change func(b []byte)) {
	t.Helper()
	b := sectorAt(t, d, lba)
	change(b)
	put(t, d, lba, b)
}

// last is the number of the last sector of 512 bytes.
func last(d *powercut.Disk) int64 { return d.Size()/512 - 1 }

// ids gives test partitions their UUIDs.
func ids() func(string) uuid.UUID {
	return partitions.SeededUUIDs(uuid.MustParse("8d5d1a3e-52f1-4cf0-8c3b-3a2b1d0c4e5f"))
}

// defaultDisk is a disk with the default layout.
func defaultDisk(t testing.TB) *powercut.Disk {
	t.Helper()
	return create(t, partitions.DefaultLayout(ids()))
}

// create is a disk with a layout.
func create(t testing.TB, l partitions.Layout) *powercut.Disk {
	t.Helper()
	d := powercut.New(l.DiskSize())
	require.NoError(t, partitions.Create(d, d.Size(), l))
	return d
}

func mustRead(t testing.TB, d *powercut.Disk) *partitions.Table {
	t.Helper()
	table, err := partitions.Read(d, d.Size(), 512)
	require.NoError(t, err)
	return table
}
