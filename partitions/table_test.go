package partitions_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

func TestCreateReadRoundTrip(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	m := defaultDisk(t)
	table := mustRead(t, m)
	assert.Equal(t, l.Partitions, table.Partitions)
	assert.Equal(t, l.DiskUUID, table.DiskUUID)
	assert.False(t, table.Damaged())
	assert.Equal(t, defaultDisk(t).Digest(), m.Digest(), "equal layouts give equal bytes")
}

func TestFindPartitions(t *testing.T) {
	table := mustRead(t, defaultDisk(t))
	p, ok := table.ByLabel("USR-B")
	assert.True(t, ok)
	assert.Equal(t, 4, p.Number)
	p, ok = table.ByUUID(uuid.MustParse(partitions.UUIDUSRA))
	assert.True(t, ok)
	assert.Equal(t, 3, p.Number)
	p, ok = table.Partition(9)
	assert.True(t, ok)
	assert.Equal(t, "ROOT", p.Label)
	for _, find := range []func() (partitions.Partition, bool){
		func() (partitions.Partition, bool) { return table.ByLabel("none") },
		func() (partitions.Partition, bool) { return table.ByUUID(uuid.UUID{}) },
		func() (partitions.Partition, bool) { return table.Partition(5) },
	} {
		p, ok := find()
		assert.False(t, ok)
		assert.Zero(t, p)
	}
	_, err := table.Room(5)
	assert.EqualError(t, err, "partition 5: not in the table")
}

func TestCreateEmpty(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		rec := powercut.Record(powercut.New(1 << 20))
		e := partitions.Empty{SectorSize: sectorSize, DiskUUID: ids()("disk"), Padding: 7}
		require.NoError(t, partitions.CreateEmpty(rec, rec.Size(), e))
		table := readAs(t, rec.Disk, sectorSize)
		assert.Empty(t, table.Partitions)
		assert.False(t, table.Damaged())
		assert.Equal(t, e.DiskUUID, table.DiskUUID)
		assert.EqualValues(t, 9, table.Primary.Header.EntriesLBA)

		e.Padding = 1 << 20
		assert.ErrorContains(t, partitions.CreateEmpty(rec, rec.Size(), e), "has no room for a table with 1048576 sectors of padding")
	}
	assert.EqualError(t, partitions.CreateEmpty(powercut.New(0), 0, partitions.Empty{}), "sector size is 0, want 512 or 4096")
}

func TestUseTryTakesOneTry(t *testing.T) {
	m := defaultDisk(t)
	table := mustRead(t, m)
	require.NoError(t, partitions.SetAttributes(m, table, 4, partitions.Slot(2, 1, false)))
	n, ok := partitions.Next(table)
	assert.True(t, ok)
	assert.Equal(t, 4, n)
	require.NoError(t, partitions.UseTry(m, table, 4))
	n, ok = partitions.Next(mustRead(t, m))
	assert.True(t, ok)
	assert.Equal(t, 3, n)
}
