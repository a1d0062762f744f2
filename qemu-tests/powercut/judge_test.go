package powercut_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// What a cut leaves of a table is read by cgpt as Read reads it, and after a
// repair sgdisk finds no fault with it.
func TestJudgesReadWhatAPowerCutLeaves(t *testing.T) {
	toolstest.Command(t, "sgdisk")
	disk := firstDisk(t, 512)
	judged := 0
	for _, s := range changeover(slotB, version(2)) {
		rec := powercut.Record(disk)
		m := machine{rec, rec.Size(), 512}
		table, err := m.table()
		require.NoError(t, err)
		require.NoError(t, s.run(m, table))
		for state := range rec.States(powercut.Options{Seed: 1}) {
			if s.table {
				judgeTable(t, s.name+", "+state.String(), state.Disk)
				judged++
			}
		}
		disk = rec.Disk
	}
	t.Logf("%d states", judged)
	assert.Greater(t, judged, 20)
}

// judgeTable shows the ends of a disk to foreign programs.
func judgeTable(t *testing.T, name string, d *powercut.Disk) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	defer f.Close()
	m := machine{d, d.Size(), 512}
	table, err := m.table()
	require.NoError(t, err, name)
	require.NoError(t, f.Truncate(d.Size()))
	const ends = 34 * 512
	save := func() {
		for _, off := range []int64{0, d.Size() - ends} {
			_, err := io.Copy(io.NewOffsetWriter(f, off), io.NewSectionReader(d, off, ends))
			require.NoError(t, err)
		}
	}
	save()
	for _, p := range table.Slots() {
		out, err := toolstest.Command(t, "cgpt", "show", "-i", fmt.Sprint(p.Number), "-A", f.Name()).Output()
		require.NoError(t, err, name)
		want := "0\n" // C's %#x has no prefix for zero
		if a := uint64(p.Attributes) >> 48; a != 0 {
			want = fmt.Sprintf("%#x\n", a)
		}
		require.Equal(t, want, string(out), name)
	}
	require.NoError(t, partitions.Repair(d, table), name)
	save()
	out, err := toolstest.Command(t, "sgdisk", "-v", f.Name()).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
	require.Contains(t, string(out), "No problems found", name)
}
