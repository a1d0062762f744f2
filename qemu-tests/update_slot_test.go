package qemutests_test

import (
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/vm"
	"slipway/signing/footer"
)

// testPassedOver starts with a bad update in USR-B: the same boot must say what
// is wrong with it and go on with the version before.
func testPassedOver(c *updateRun, want string, damage func(d *testDisk)) {
	d := c.used(c.T)
	d.onTrial(c.T)
	damage(d)
	m := d.boot(c.T, bare(&vm.Config{Firmware: c.firmware}))
	m.expect(c.T, `slipway: USR-B.*: `+want)
	m.up(c.T)
	report := m.runs(c.T, "USR-A", c.release)
	assert.Regexp(c, want, report.Failures["USR-B"])
	m.says(c.T, `USR-B.*: `+want)
	assert.Equal(c, "priority=2 tries=0 successful=0", m.attributes(c.T, 4), "the try is spent")
	assert.Equal(c, "priority=1 tries=0 successful=1", m.attributes(c.T, 3), "proven as before")
}

func testCorruptData(c *updateRun) {
	testPassedOver(c, `verity: data block \d+ is corrupt`, func(d *testDisk) {
		d.flipFile(c.T, "USR-B", "lib/systemd/systemd")
	})
}

func testCorruptHashTree(c *updateRun) {
	testPassedOver(c, `verity: tree level \d+, block \d+ is corrupt`, func(d *testDisk) {
		foot := d.footer(c.T, "USR-B")
		d.flip(c.T, "USR-B", foot.HashOffset+foot.HashSize-4096)
	})
}

func testUnknownKey(c *updateRun) {
	testPassedOver(c, `slot footer: not signed by a known key: signed by [0-9a-f]{16}; accepted: [0-9a-f]{16}`,
		func(d *testDisk) { d.sign(c.T, "USR-B") })
}

func testTruncatedSlot(c *updateRun) {
	testPassedOver(c, `no slot footer`, func(d *testDisk) { d.truncate(c.T, "USR-B") })
}

// testBothSlotsBad starts with nothing to fall back to: the machine says why of
// each slot, does not stop there, and is well again when a slot is.
func testBothSlotsBad(c *updateRun) {
	d := c.used(c.T)
	d.onTrial(c.T)
	d.flip(c.T, "USR-A", -footer.Size+100)
	d.flipFile(c.T, "USR-B", "lib/systemd/systemd")
	m := d.boot(c.T, bare(&vm.Config{}))
	m.expect(c.T, `slipway: no slot can be started:`)
	m.expect(c.T, `slipway:   USR-B.*: verity: data block \d+ is corrupt`)
	m.expect(c.T, `slipway:   USR-A.*: slot footer: bad signature by `)
	m.expect(c.T, `slipway: rebooting in \S+, or at once when a key is pressed`)
	assert.NotContains(c, m.Console().Text(), "systemd[1]")

	m.PowerCut()
	d = c.used(c.T)
	require.NoError(c, m.Write(c.Context(), d.sectors(c.T, "USR-A", -footer.Size, footer.Size)))
	m.start(c.T)
	m.up(c.T)
	m.runs(c.T, "USR-A", c.release)
}

// testTriesExhausted starts after an update that was tried and never became
// healthy: it must not be tried again, and the machine says so.
func testTriesExhausted(c *updateRun) {
	d := c.used(c.T)
	d.set(c.T, "USR-B", partitions.Slot(2, 0, false))
	m := d.boot(c.T, bare(&vm.Config{}))
	m.up(c.T)
	report := m.runs(c.T, "USR-A", c.release)
	assert.Equal(c, spent, report.Failures["USR-B"])
	m.says(c.T, `USR-B.*: `+spent)
	assert.Equal(c, "priority=2 tries=0 successful=0", m.attributes(c.T, 4))
}

// spent is what the boot says of a slot on trial that used up its tries.
const spent = "its tries are spent and it was never healthy"
