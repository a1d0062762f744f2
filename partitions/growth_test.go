package partitions_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// A disk grows by one sector up to more than a whole backup table, so that
// the new backup overlaps the old one in every way.
func TestPowerCutsDuringGrowth(t *testing.T) {
	for _, l := range layouts() {
		states := 0
		for _, by := range []int64{1, 2, 4, 5, 32, 33, 34, 66, 1 << 18} {
			for what, spoil := range damage(t, int64(l.SectorSize)) {
				if what == "primary header" || what == "primary" || what == "crosswise" {
					continue // nothing tells any more where the backup was
				}
				states += cutGrowth(t, l, by*int64(l.SectorSize), what, spoil)
			}
			states += cutGrowth(t, l, by*int64(l.SectorSize), "primary header's checksum", func(d *powercut.Disk) {
				edit(t, d, int64(l.SectorSize)/512, func(h []byte) { h[16] ^= 1 })
			})
		}
		t.Logf("%d states with sectors of %d bytes", states, l.SectorSize)
	}
}

// cutGrowth cuts the growth of a disk, and of what a cut left of it.
func cutGrowth(t *testing.T, l partitions.Layout, by int64, what string, spoil func(*powercut.Disk)) (states int) {
	t.Helper()
	name := fmt.Sprintf("%d bytes more, bad %s", by, what)
	small := create(t, l)
	require.NoError(t, install(3, 1)(small, readAs(t, small, l.SectorSize)))
	spoil(small)
	disk := powercut.Over(small, small.Size()+by)
	table := readAs(t, disk, l.SectorSize)
	require.True(t, table.Damaged(), name)
	before := *table

	r := powercut.Record(disk)
	require.NoError(t, partitions.Grow(r, table, 9), name)
	require.False(t, table.Damaged(), name)
	root, _ := table.Partition(9)
	require.Equal(t, table.LastUsable, root.End(), name)
	require.Equal(t, disk.Size()-int64(l.SectorSize)-128*128, (root.End()+1)*int64(l.SectorSize), name)
	assertOutsidePartitions(t, r, &before)

	for s := range r.States(powercut.Options{}) {
		states++
		now := checkCut(t, s.Disk, name, &before, table)
		again := powercut.Record(s.Disk)
		require.NoError(t, partitions.Grow(again, now, 9), name)
		require.Equal(t, table.Partitions, now.Partitions, name)
		require.False(t, now.Damaged(), name)
		for s := range again.States(powercut.Options{Random: 8}) {
			checkCut(t, s.Disk, name+", again", &before, table)
			states++
		}
	}
	return states
}

func assertOutsidePartitions(t *testing.T, r *powercut.Recorder, table *partitions.Table) {
	t.Helper()
	scale := int64(table.SectorSize / powercut.Sector)
	for _, lba := range r.Sectors() {
		for _, p := range table.Partitions {
			if lba < scale || lba >= p.Start*scale && lba < (p.End()+1)*scale {
				t.Fatalf("sector %d of partition %d was written", lba, p.Number)
			}
		}
	}
}
