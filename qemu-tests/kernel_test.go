package qemutests_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/vm"
)

// TestOtherKernel boots a disk with a newer version on trial in USR-B, whose
// kernel is not the one that the firmware starts: its own must run. The trial
// is not confirmed, so a power cut brings the proven version back.
func TestOtherKernel(t *testing.T) {
	oneChannel(t, func(t *testing.T, b *bench, r *release) {
		next := b.next(t, r)
		d := newSlotDisk(t, r, false)
		d.install(t, "USR-B", next)
		m := newMachine(t, b, r, &vm.Config{Disk: d.Name(), Memory: 2048})
		m.booted(t)
		assert.Contains(t, m.run(t, "cat /proc/cmdline"), "slipway.test=next slipway.slot=4")
		report := m.bootReport(t)
		assert.Equal(t, "USR-B", report.Slot)
		assert.Equal(t, next.Version, report.Version)
		assert.Equal(t, next.Version, m.run(t, ". /etc/os-release; echo $VERSION_ID"))
		assert.Equal(t, "USR-B", m.run(t, "lsblk -ndo PARTLABEL $(rootdev -s /usr)"))
		assert.Equal(t, "0", m.run(t, "cgpt show -i 4 -T /dev/vda"), "tries left of the trial")
		assert.Equal(t, "0", m.run(t, "cgpt show -i 4 -S /dev/vda"), "nobody called the trial a success")

		m.PowerCut()
		require.NoError(t, m.Start(t.Context()))
		m.booted(t)
		report = m.bootReport(t)
		assert.Equal(t, "USR-A", report.Slot)
		assert.Equal(t, r.Version, report.Version)
		assert.NotContains(t, m.run(t, "cat /proc/cmdline"), "slipway.test")
	})
}

// next builds a newer version of a release: same packages, another kernel
// command line.
func (b *bench) next(t testing.TB, r *release) *release {
	b.mu.Lock()
	defer b.mu.Unlock()
	dir := b.build(t, r.Channel, "--lock", r.path("packages.lock"), "--version", r.nextVersion(t),
		"--overlay", "qemu-tests/testdata/next")
	next, err := readRelease(dir)
	require.NoError(t, err)
	return next
}

// nextVersion is the version after a release's, MAJOR.MINOR.PATCH.
func (r *release) nextVersion(t testing.TB) string {
	var major, minor, patch int
	_, err := fmt.Sscanf(r.Version, "%d.%d.%d", &major, &minor, &patch)
	require.NoError(t, err)
	return fmt.Sprintf("%d.%d.%d", major, minor, patch+1)
}

// install puts a release's slot image into a slot, on trial.
func (d *slotDisk) install(t *testing.T, label string, r *release) {
	p, ok := d.layout.Partition(label)
	require.True(t, ok)
	slot, err := os.Open(r.path("usr.img"))
	require.NoError(t, err)
	defer slot.Close()
	_, err = io.Copy(io.NewOffsetWriter(d, d.layout.Offset(p)), slot)
	require.NoError(t, err)
	table, err := partitions.Read(d, d.layout.DiskSize(), d.layout.SectorSize)
	require.NoError(t, err)
	require.NoError(t, partitions.SetAttributes(d, table, p.Number, partitions.Slot(3, 1, false)))
}
