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
