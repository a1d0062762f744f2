package qemutests_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// journey is a machine that went from USR-A to a new version in USR-B and
// back, and is off now. Its disk's writes are recorded.
type journey struct {
	*machine
	start                 *testDisk // as it was at the beginning
	updated, stayed, back stop
}

// stop is what was to be seen on a journey.
type stop struct {
	console    string // since the stop before
	journal    string // of the health service
	cmdline    string
	attributes [2]string // of the slots
	stage1     string    // digest of the file that the firmware starts
}

// journey makes the journey, once.
func (c *updateRun) journey() *journey {
	return c.journeys.get(c.T, func() *journey {
		newer := c.variant(c.T, next)
		d := c.used(c.T)
		d.onTrial(c.T)
		m := d.bootShared(c.T, offline(&vm.Config{
			Firmware: c.firmware, LogWrites: true, Credentials: healthSoon(),
		}))
		j := &journey{machine: m, start: d}
		m.booted(c.T)
		m.healthy(c.T)
		m.runs(c.T, "USR-B", newer)
		j.updated = m.look(c.T)
		m.reboot(c.T)
		m.runs(c.T, "USR-B", newer)
		j.stayed = m.look(c.T)
		m.run(c.T, "cgpt prioritize -i 3 /dev/vda")
		m.reboot(c.T)
		m.runs(c.T, "USR-A", c.release)
		j.back = m.look(c.T)
		m.shutdown(c.T)
		return j
	})
}

// healthSoon has the guest call itself healthy a second after all is up.
func healthSoon() map[string]string {
	return map[string]string{
		"systemd.unit-dropin.slipway-health.timer": "[Timer]\nOnBootSec=\nOnBootSec=1s\n",
		"systemd.unit-dropin.slipway-health.service": "[Service]\nExecStart=\n" +
			"ExecStart=/usr/bin/slipway-host health --settle=1s --timeout=400s\n",
	}
}

// healthy waits until the guest has called itself healthy and done what follows
// from that, and fails if it does not.
func (m *machine) healthy(t testing.TB) {
	t.Helper()
	verdict := m.run(t, `
		grep -m 1 -E ' is (not )?healthy' < <(
			journalctl -b -f -n all -o cat -u slipway-health.service 2>/dev/null)
		judge=$(systemctl show -P MainPID slipway-health.service)
		[ $judge = 0 ] || tail --pid=$judge -s 0.2 -f /dev/null`)
	require.Contains(t, verdict, " is healthy")
}

// look notes what is to be seen now.
func (m *machine) look(t testing.TB) stop {
	t.Helper()
	text := m.Console().Text()
	s := stop{
		console:    text[m.looked:],
		journal:    m.run(t, "journalctl --sync; journalctl -b -o cat --no-pager -u slipway-health.service"),
		cmdline:    m.run(t, "cat /proc/cmdline"),
		attributes: [2]string{m.attributes(t, 3), m.attributes(t, 4)},
		stage1:     m.stage1(t),
	}
	m.looked = len(text)
	return s
}

// stage1 is the digest of what the firmware starts of the machine's disk.
func (m *machine) stage1(t testing.TB) string {
	t.Helper()
	return m.run(t, "mount -r /dev/vda1 /mnt && sha256sum </mnt/EFI/BOOT/BOOTX64.EFI | cut -d' ' -f1; umount /mnt")
}

// stage1 is the digest of what the firmware starts of a release.
func (r *release) stage1(t testing.TB) string {
	content, err := os.ReadFile(r.path("boot.efi"))
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// kexec is what bootengine says when a slot's kernel is not the running one.
const kexec = `brings another kernel: starting it`

// testGoodSlot starts with a good update: it becomes the proven version by
// itself, the firmware starts its kernel from then on, and it stays.
func testGoodSlot(c *updateRun) {
	j := c.journey()
	newer := c.variant(c.T, next)
	proven := [2]string{"priority=1 tries=0 successful=1", "priority=2 tries=0 successful=1"}

	assert.Contains(c, j.updated.console, kexec)
	assert.Contains(c, j.updated.journal, fmt.Sprintf("USR-B: version %s is on trial", newer.Version))
	assert.Regexp(c, fmt.Sprintf(`USR-B: version %s is healthy after \S+ and proven now`, newer.Version), j.updated.journal)
	assert.Contains(c, j.updated.journal, fmt.Sprintf("stage 1 is that of version %s now", newer.Version))
	assert.Equal(c, proven, j.updated.attributes)
	assert.Equal(c, newer.stage1(c.T), j.updated.stage1)

	assert.NotContains(c, j.stayed.console, kexec)
	assert.Equal(c, proven, j.stayed.attributes)
	assert.Equal(c, newer.stage1(c.T), j.stayed.stage1)
}

// testOtherKernel looks at an update that brings another kernel: it must run,
// and so must the kernel before when the machine is sent back.
func testOtherKernel(c *updateRun) {
	j := c.journey()
	assert.Contains(c, j.updated.console, kexec)
	assert.Contains(c, j.updated.cmdline, "slipway.test=next slipway.slot=4")
	assert.NotContains(c, j.stayed.cmdline, "slipway.slot=", "the firmware starts it")
	assert.Contains(c, j.back.console, kexec)
	assert.Contains(c, j.back.cmdline, "slipway.slot=3")
	assert.NotContains(c, j.back.cmdline, "slipway.test")
	assert.Equal(c, [2]string{
		"priority=2 tries=0 successful=1", "priority=1 tries=0 successful=1",
	}, j.back.attributes)
}
