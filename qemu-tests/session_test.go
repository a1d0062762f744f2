package qemutests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/partitions"
	"slipway/qemu-tests/vm"
)

// TestCoreOSSession is what administrators of CoreOS typed to change to the
// other slot by hand.
func TestCoreOSSession(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		d := l.used(t)
		d.set(t, "USR-B", partitions.Slot(0, 0, true))
		m := d.boot(t, bare(&vm.Config{}))
		m.up(t)
		m.runs(t, "USR-A", l.release)

		shown := strings.ReplaceAll(m.run(t, "cgpt show /dev/vda"), " \n", "\n")
		assert.True(t, strings.HasPrefix(shown, "start        size    part  contents\n"), shown)
		assert.Contains(t, shown, `
      270336     2097152       3  Label: "USR-A"
                                  Type: Alias for coreos-rootfs
                                  UUID: 7130C94A-213A-4E5A-8E26-6CCE9662F132
                                  Attr: priority=1 tries=0 successful=1
     2367488     2097152       4  Label: "USR-B"
                                  Type: Alias for coreos-rootfs
                                  UUID: E03DD35C-7C2D-4A47-B3FE-27F15780A57C
                                  Attr: priority=0 tries=0 successful=1
`)
		assert.Equal(t, "/dev/vda3", m.run(t, "rootdev -s /usr"))
		assert.Equal(t, "/dev/vda4",
			m.run(t, `cgpt find -t coreos-usr | grep --invert-match "$(rootdev -s /usr)"`))
		m.run(t, "cgpt prioritize -i 4 /dev/vda")
		m.reboot(t)
		m.runs(t, "USR-B", l.variant(t, next))
		assert.Equal(t, "/dev/vda4", m.run(t, "rootdev -s /usr"))
	})
}
