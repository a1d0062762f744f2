package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/partitions"
)

// A table that is not that of the layout, in any of its fields, is noticed.
func TestReadBackSeesDifferences(t *testing.T) {
	layout := func() partitions.Layout {
		return partitions.DefaultLayout(partitions.SeededUUIDs(uuid.Max))
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, disk.Write(t.Context(), f, &disk.Options{Layout: layout()}))
	require.NoError(t, disk.ReadBack(f, layout()))
	for name, change := range map[string]func(*partitions.Layout){
		"label":      func(l *partitions.Layout) { l.Partitions[2].Label = "USR-C" },
		"start":      func(l *partitions.Layout) { l.Partitions[2].Start++ },
		"size":       func(l *partitions.Layout) { l.Partitions[2].Size-- },
		"attributes": func(l *partitions.Layout) { l.Partitions[2].Attributes = partitions.Slot(2, 0, true) },
		"UUID":       func(l *partitions.Layout) { l.Partitions[2].UUID = uuid.Max },
		"type":       func(l *partitions.Layout) { l.Partitions[2].Type = uuid.Max },
		"number":     func(l *partitions.Layout) { l.Partitions[2].Number = 5 },
		"disk":       func(l *partitions.Layout) { l.DiskUUID = uuid.Max },
		"missing":    func(l *partitions.Layout) { l.Partitions = l.Partitions[1:] },
	} {
		l := layout()
		change(&l)
		assert.ErrorContains(t, disk.ReadBack(f, l), "partition table: another reader sees ", name)
	}
	_, err = f.WriteAt([]byte("x"), 512)
	require.NoError(t, err)
	assert.ErrorContains(t, disk.ReadBack(f, layout()), "partition table: another reader ")
}
