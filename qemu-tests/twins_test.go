package qemutests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/qemu-tests/vm"
)

// TestTwinDisks starts machines with two disks that have the same labels, of
// which the wrong one comes first: they must use the one they started from, and
// nothing of the other.
func TestTwinDisks(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		tests := []struct {
			name     string
			firmware vm.Firmware
			twin     string
		}{
			{"new disk beside", vm.BIOS, l.path("slipway.img")},
			{"copy beside", vm.UEFI, l.usedDisk(t).Name()},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				m := l.used(t).boot(t, lean(&vm.Config{
					Firmware: test.firmware,
					Drives:   []vm.Drive{{Path: test.twin, Serial: "twin", Writable: true, First: true}},
				}))
				m.up(t)
				m.runs(t, "USR-A", l.release)
				for _, what := range []string{"$(rootdev -s /usr)", "$(findmnt -no SOURCE /)", "$(systemctl start oem.mount; findmnt -no SOURCE /oem)"} {
					assert.Equal(t, "slipway", m.run(t, "d="+what+"; cat /sys/class/block/$(basename $d)/../serial"), what)
				}
			})
		}
	})
}
