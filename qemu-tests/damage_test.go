package qemutests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/vm"
)

// TestNoKernel boots a BIOS machine without a file system on its ESP: GRUB must
// say so and try again, not wait at a prompt.
func TestNoKernel(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		d := l.fresh(t)
		offset, _ := d.slot(t, "EFI-SYSTEM")
		_, err := d.WriteAt(make([]byte, 4096), offset)
		require.NoError(t, err)
		m := d.boot(t, &vm.Config{NoReboot: true})
		m.expect(t, `slipway: GRUB: /EFI/BOOT/BOOTX64.EFI does not boot; restarting in 30 seconds`)
	})
}

// TestBlockGoesBad lets a block of the running slot go bad. The kernel stops
// when it reads the block; the next boot looks at every block and takes the
// other slot.
func TestBlockGoesBad(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		d := l.used(t)
		d.flipFile(t, "USR-A", "bin/find")
		d.set(t, "USR-B", partitions.Slot(1, 0, true))
		m := d.boot(t, bare(&vm.Config{}))
		m.up(t)
		m.runs(t, "USR-A", l.release)
		m.dies(t, "find /nothing")
		m.expect(t, `device-mapper: verity: .* data block \d+ is corrupted`)
		m.expect(t, `Kernel panic - not syncing: dm-verity device corrupted`)
		m.expect(t, `slipway: USR-A: verifying every block: ROOT was not left clean`)
		m.expect(t, `slipway: USR-A.*: verity: data block \d+ is corrupt`)
		m.up(t)
		report := m.runs(t, "USR-B", l.variant(t, next))
		assert.Regexp(t, `verity: data block \d+ is corrupt`, report.Failures["USR-A"])
	})
}
