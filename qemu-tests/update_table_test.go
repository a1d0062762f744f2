package qemutests_test

import (
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/vm"
)

// testNoPrimaryTable starts an update from a disk whose primary partition table
// is gone: the backup must do, for every step from the firmware on, and both
// are good afterwards.
func testNoPrimaryTable(c *updateRun) {
	d := c.used(c.T)
	d.onTrial(c.T)
	_, err := d.WriteAt(make([]byte, 33*512), 512)
	require.NoError(c, err)
	m := d.boot(c.T, bare(&vm.Config{}))
	m.expect(c.T, `slipway: GRUB: no \S+ by the table; trying by place`)
	m.expect(c.T, `slipway: disk vda: mended its partition table: primary: `)
	m.up(c.T)
	m.runs(c.T, "USR-B", c.variant(c.T, next))
	m.hasBothTables(c)
}

// testNoBackupTable starts from a disk whose backup table is gone, and whose
// update is not to be tried again.
func testNoBackupTable(c *updateRun) {
	d := c.used(c.T)
	d.set(c.T, "USR-B", partitions.Slot(2, 0, false))
	_, err := d.WriteAt(make([]byte, 33*512), d.Size()-33*512)
	require.NoError(c, err)
	m := d.boot(c.T, bare(&vm.Config{}))
	m.up(c.T)
	m.runs(c.T, "USR-A", c.release)
	m.says(c.T, `.*backup`)
	m.hasBothTables(c)
}

// hasBothTables checks that both copies of the partition table are good.
func (m *machine) hasBothTables(c *updateRun) {
	shown := m.run(c.T, "cgpt show -v /dev/vda")
	assert.NotContains(c, shown, "INVALID")
	m.run(c.T, "partx --show /dev/vda")
}
