package bootengine_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// newDisk is an image's disk in a sparse file.
func newDisk(t *testing.T) (*os.File, partitions.Layout) {
	t.Helper()
	layout := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.Nil))
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.Truncate(layout.DiskSize()))
	require.NoError(t, partitions.Create(f, layout.DiskSize(), layout))
	return f, layout
}

func TestPlanIdentity(t *testing.T) {
	f, layout := newDisk(t)
	table, err := partitions.Read(f, layout.DiskSize(), 512)
	require.NoError(t, err)
	oem, ok := table.ByLabel("OEM")
	require.True(t, ok)
	keep := func(id uuid.UUID) bool { return id == oem.UUID }

	change, personal, err := bootengine.PlanIdentity(table, rand.Reader, keep)
	require.NoError(t, err)
	require.True(t, personal)
	before := *table
	require.NoError(t, partitions.Update(f, table, change))
	assert.NotEqual(t, before.DiskUUID, table.DiskUUID)
	require.Len(t, table.Partitions, len(before.Partitions))
	for i, p := range table.Partitions {
		was := before.Partitions[i]
		kept := p.Label == "USR-A" || p.Label == "USR-B" || p.Label == "OEM"
		assert.Equal(t, kept, p.UUID == was.UUID, p.Label)
		p.UUID = was.UUID
		assert.Equal(t, was, p, "nothing else changes")
	}

	_, personal, err = bootengine.PlanIdentity(table, bytes.NewReader(nil), keep)
	assert.NoError(t, err)
	assert.False(t, personal, "once is enough")
	_, _, err = bootengine.PlanIdentity(&before, bytes.NewReader(nil), keep)
	assert.EqualError(t, err, "disk UUID: EOF")
}

func TestTableDamage(t *testing.T) {
	f, layout := newDisk(t)
	size := layout.DiskSize()
	damage := func() string {
		table, err := partitions.Read(f, size, 512)
		require.NoError(t, err)
		return bootengine.TableDamage(table)
	}
	assert.Empty(t, damage())
	head := make([]byte, 512)
	_, err := f.ReadAt(head, 512)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 512), 512)
	require.NoError(t, err)
	assert.Equal(t, "primary: no header at sector 1", damage())
	_, err = f.WriteAt(head, 512)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 512), size-512)
	require.NoError(t, err)
	assert.Equal(t, "backup: no header at sector 16777215", damage())
}

// TestIdentitySurvivesPowerCuts cuts the power everywhere in the first update
// of a disk, also of one that is larger than its image or damaged: the table
// is readable and chooses as before, and the identity is the old or the new one.
func TestIdentitySurvivesPowerCuts(t *testing.T) {
	layout := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.Nil))
	random := bytes.NewReader(bytes.Repeat([]byte{0x5a, 0xc3, 0x17}, 1000))
	size := layout.DiskSize()
	cases := []struct {
		name string
		size int64
		zero []int64 // sectors that are lost
	}{
		{"as made", size, nil},
		{"grown", size + 1<<30, nil},
		{"primary header lost", size, []int64{1}},
		{"backup lost", size, []int64{size/512 - 1, size/512 - 33}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := powercut.New(c.size)
			require.NoError(t, partitions.Create(d, size, layout))
			for _, lba := range c.zero {
				_, err := d.WriteAt(make([]byte, 512), lba*512)
				require.NoError(t, err)
			}
			table, err := partitions.Read(d, c.size, 512)
			require.NoError(t, err)
			change, needed, err := bootengine.PlanTable(table, random, func(uuid.UUID) bool { return false })
			require.NoError(t, err)
			require.True(t, needed)
			before := *table
			rec := powercut.Record(d)
			require.NoError(t, partitions.Update(rec, table, change))
			states := 0
			for state := range rec.States(powercut.Options{Seed: 1}) {
				states++
				now, err := partitions.Read(state.Disk, c.size, 512)
				require.NoError(t, err)
				number, ok := partitions.Next(now)
				require.True(t, ok)
				require.Equal(t, 3, number)
				want := &before
				if now.DiskUUID != before.DiskUUID {
					want = table
				}
				require.Equal(t, want.DiskUUID, now.DiskUUID)
				require.Equal(t, want.Partitions, now.Partitions)
			}
			assert.Greater(t, states, 30)
			assert.False(t, table.Damaged())
			_, needed, err = bootengine.PlanTable(table, random, nil)
			assert.NoError(t, err)
			assert.False(t, needed, "once is enough")
		})
	}
}
