package partitions_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

func TestSetAttributesTouchesTwoSectorsOfEachCopy(t *testing.T) {
	disk := defaultDisk(t)
	last := last(disk)
	r := powercut.Record(disk)
	table := mustRead(t, disk)
	require.NoError(t, partitions.SetAttributes(r, table, 6, 1))
	assert.Equal(t, []int64{last - 31, last, 3, 1}, r.Sectors(), "backup first, the one sector with entries 5 to 8")
	assert.Equal(t, 2, r.Syncs())

	large := create(t, layouts()[1])
	r = powercut.Record(large)
	require.NoError(t, partitions.SetAttributes(r, readAs(t, large, 4096), 6, 1))
	lbas := slices.Compact(slices.Collect(func(yield func(int64) bool) {
		for _, lba := range r.Sectors() {
			yield(lba / 8)
		}
	}))
	last = large.Size()/4096 - 1
	assert.Equal(t, []int64{last - 4, last, 2, 1}, lbas, "one of the four sectors with entries")

	r = powercut.Record(disk)
	require.NoError(t, partitions.SetAttributes(r, mustRead(t, disk), 6, 0))
	assert.Empty(t, r.Operations(), "nothing to change")
}

func TestUpdateKeepsASlotToBoot(t *testing.T) {
	disk := defaultDisk(t)
	for name, c := range map[string]partitions.Change{
		"not proven": {Attributes: map[int]partitions.Attributes{3: partitions.Slot(1, 0, false)}},
		"priority 0": {Attributes: map[int]partitions.Attributes{3: partitions.Slot(0, 1, true)}},
		"removed":    {Remove: []int{3}},
		"no slot":    {Put: []partitions.Partition{{Number: 3, Type: ids()("type"), UUID: ids()("x"), Start: 270336, Size: 1}}},
		"no entries": {Entries: make([]byte, 128*128)},
	} {
		r := powercut.Record(disk)
		assert.ErrorIs(t, partitions.Update(r, mustRead(t, disk), c), partitions.ErrNoSlot, name)
		assert.Empty(t, r.Operations(), name)

		c.Force = true
		table := mustRead(t, disk)
		require.NoError(t, partitions.Update(r, table, c), name)
		_, ok := partitions.Next(table)
		assert.False(t, ok, name)
		require.NoError(t, partitions.Update(r, table, partitions.Change{DiskUUID: ids()("other")}), "what is lost already is no reason")
	}
	require.NoError(t, partitions.Update(disk, mustRead(t, disk), partitions.Change{
		Attributes: map[int]partitions.Attributes{3: 0, 4: partitions.Slot(1, 1, false)},
	}))
	table := mustRead(t, disk)
	require.NoError(t, partitions.UseTry(disk, table, 4), "the last try of the only slot")
	_, ok := partitions.Next(table)
	assert.False(t, ok)
}

// broken is a disk that fails from some write or sync on.
type broken struct {
	*powercut.Disk
	left int
}

func (b *broken) WriteAt(p []byte, off int64) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errors.New("broken")
	}
	return b.Disk.WriteAt(p, off)
}

func (b *broken) Sync() error {
	if b.left--; b.left < 0 {
		return errors.New("broken")
	}
	return nil
}

// A disk that fails in the middle of a change says so, and what is on it can
// be read and mended.
func TestUpdateOnABrokenDisk(t *testing.T) {
	for what, spoil := range damage(t, 512) {
		for left := 0; ; left++ {
			disk := defaultDisk(t)
			spoil(disk)
			table := mustRead(t, disk)
			before := table.Partitions
			err := partitions.SetAttributes(&broken{disk, left}, table, 4, partitions.Slot(2, 1, false))
			now := mustRead(t, disk)
			if err == nil {
				assert.Greater(t, left, 5, what)
				break
			}
			require.ErrorContains(t, err, "table: broken", what)
			require.Equal(t, before, table.Partitions, "%s: the caller's table is the one read", what)
			require.NoError(t, partitions.SetAttributes(disk, now, 4, partitions.Slot(2, 1, false)), what)
			require.False(t, now.Damaged(), what)
		}
	}
}

func TestUpdateRefusesATableThatChanged(t *testing.T) {
	disk := defaultDisk(t)
	stale, table := mustRead(t, disk), mustRead(t, disk)
	require.NoError(t, partitions.SetAttributes(disk, table, 4, partitions.Slot(2, 1, false)))
	r := powercut.Record(disk)
	assert.ErrorIs(t, partitions.SetAttributes(r, stale, 3, 0), partitions.ErrChanged)
	assert.Empty(t, r.Operations())
}

func TestUpdateErrorsWriteNothing(t *testing.T) {
	id := uuid.MustParse("11111111-2222-3333-4444-555555555555")
	data := uuid.MustParse(partitions.TypeLinuxData)
	tests := []struct {
		name    string
		change  partitions.Change
		wantErr string
	}{
		{"missing", partitions.Change{Attributes: map[int]partitions.Attributes{5: 1}}, "partition 5: not in the table"},
		{"remove missing", partitions.Change{Remove: []int{300}}, "partition 300: not in the table"},
		{
			"overlap", partitions.Change{Put: []partitions.Partition{{Number: 5, Type: data, UUID: id, Start: 4096, Size: 8}}},
			"partitions 1 and 5 overlap",
		},
		{
			"outside", partitions.Change{Put: []partitions.Partition{{Number: 5, Type: data, UUID: id, Start: 33, Size: 8}}},
			"partition 5: sectors 33 to 40 are not within 34 to 16777182",
		},
		{
			"number", partitions.Change{Put: []partitions.Partition{{Number: 129, Type: data, UUID: id, Start: 40, Size: 8}}},
			"partition 129: number is not within 1 to 128",
		},
		{
			"label", partitions.Change{Put: []partitions.Partition{{
				Number: 5, Type: data, UUID: id, Start: 40, Size: 8,
				Label: "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀a",
			}}},
			`partition 5: label "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀a" has 37 UTF-16 units, at most 36 fit`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := powercut.Record(defaultDisk(t))
			err := partitions.Update(r, mustRead(t, r.Disk), tt.change)
			assert.EqualError(t, err, tt.wantErr)
			assert.Empty(t, r.Operations())
		})
	}
}

// A header whose checksum is right but whose backup would lie inside a
// partition must not make anything write there.
func TestBackupIsNeverWrittenIntoAPartition(t *testing.T) {
	disk := defaultDisk(t)
	edit(t, disk, 1, func(h []byte) {
		binary.LittleEndian.PutUint64(h[32:], 5_000_000)
		reseal(h)
	})
	disk.Zero(last(disk), 1)
	table := mustRead(t, disk)
	r := powercut.Record(disk)
	require.NoError(t, partitions.SetAttributes(r, table, 4, partitions.Slot(2, 1, false)))
	onlyTable(t, r, 512)
	assert.False(t, mustRead(t, r.Disk).Damaged())
}
