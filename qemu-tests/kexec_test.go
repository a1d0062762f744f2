package qemutests_test

import (
	"context"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// lastWords are lines that only the end of a system writes on the console.
var lastWords = regexp.MustCompile(`systemd-shutdown|Reached target .*(shutdown|umount|final|reboot|kexec)|` +
	`watchdog: watchdog0: watchdog did not stop|reboot: Restarting system`)

// downtime is the time between the last word of one system and the first
// command in the next.
type downtime struct {
	mu   sync.Mutex
	last time.Time
}

// hear takes a line of the console.
func (d *downtime) hear(line string) {
	if lastWords.MatchString(line) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = time.Now()
	}
}

// TestKexecReboot restarts past the firmware, into a version on trial and into
// proven ones, and by way of the firmware for comparison.
func TestKexecReboot(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		newer := l.variant(t, next)
		var down downtime
		m := l.used(t).boot(t, lean(&vm.Config{
			Firmware: vm.UEFI, CPUs: 1, Memory: 2048, Credentials: healthSoon(), Log: down.hear,
		}))
		m.booted(t)
		m.runs(t, "USR-A", l.release)

		restart := func(to string) (took time.Duration, console string) {
			t.Helper()
			before := len(m.Console().Text())
			took = m.restartBy(t, &down, "locksmithctl reboot")
			console = m.Console().Text()[before:]
			t.Logf("into %s: first command %s after the last word of the system before", to, took.Round(10*time.Millisecond))
			return took, console
		}

		// Nothing but the firmware leads into the running slot.
		m.run(t, "mkdir -p /etc/coreos && echo REBOOT_METHOD=kexec >/etc/coreos/update.conf")
		firmware, console := restart("USR-A by the firmware")
		assert.Contains(t, console, "BdsDxe: starting")
		m.runs(t, "USR-A", l.release)
		assert.Contains(t, m.run(t, "journalctl -b -1 -o cat --no-pager -u slipway-kexec.service"),
			"restarting by way of the firmware: no other slot is to be started than the running USR-A")

		m.run(t, "cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
		trial, console := restart("USR-B on trial by kexec")
		assert.NotContains(t, console, "BdsDxe", "the firmware")
		assert.NotContains(t, console, kexec, "a second kexec")
		m.runs(t, "USR-B", newer)
		assert.Equal(t, "priority=2 tries=0 successful=0", m.attributes(t, 4), "one try is taken")
		cmdline := m.run(t, "cat /proc/cmdline")
		assert.Contains(t, cmdline, "slipway.test=next slipway.esp=")
		assert.NotContains(t, cmdline, "slipway.slot=", "the boot engine chose by itself")
		assert.Contains(t, m.run(t, "journalctl -b -1 -o cat --no-pager -u slipway-kexec.service"),
			"USR-B: the kernel of version "+newer.Version+" is loaded: the restart goes past the firmware")
		assert.Equal(t, "active", m.run(t, "cat /sys/class/watchdog/watchdog0/state"))
		m.healthy(t)
		assert.Equal(t, "priority=2 tries=0 successful=1", m.attributes(t, 4))

		m.run(t, "cgpt prioritize -i 3 /dev/vda && echo REBOOT_METHOD=firmware >/etc/coreos/update.conf")
		back, console := restart("USR-A, proven, by the firmware and the kernel of USR-B")
		assert.Contains(t, console, "BdsDxe: starting")
		assert.Contains(t, console, kexec)
		m.runs(t, "USR-A", l.release)

		m.run(t, "cgpt prioritize -i 4 /dev/vda && echo REBOOT_METHOD=kexec >/etc/coreos/update.conf")
		proven, console := restart("USR-B, proven, by kexec")
		assert.NotContains(t, console, "BdsDxe")
		m.runs(t, "USR-B", newer)
		t.Logf("down by kexec: %.2f of a restart by the firmware into the same version, %.2f of one into another; on trial %.2f and %.2f",
			proven.Seconds()/firmware.Seconds(), proven.Seconds()/back.Seconds(),
			trial.Seconds()/firmware.Seconds(), trial.Seconds()/back.Seconds())
	})
}

// TestKexecIntoPanic restarts past the firmware into a version whose kernel
// panics: the machine comes back with the version before.
func TestKexecIntoPanic(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		d := l.used(t)
		d.install(t, "USR-B", l.variant(t, panics))
		m := d.boot(t, lean(&vm.Config{}))
		m.up(t)
		m.run(t, "mkdir -p /etc/coreos && echo REBOOT_METHOD=kexec >/etc/coreos/update.conf; "+
			"cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
		m.dies(t, "systemctl start multi-user.target; locksmithctl reboot; sleep 600")
		m.expect(t, `Kernel panic - not syncing: VFS: Unable to mount root fs`)
		m.expect(t, `slipway: USR-B: version \S+ brings another kernel: starting it`)
		m.expect(t, `Kernel panic - not syncing: VFS: Unable to mount root fs`)
		m.up(t)
		assert.Equal(t, spent, m.runs(t, "USR-A", l.release).Failures["USR-B"])
	})
}

// restartBy has a command restart the machine, waits until the next system runs
// commands, and says how long there was none.
func (m *machine) restartBy(t testing.TB, down *downtime, command string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m.run(t, "systemctl start multi-user.target dbus.service") // it may be early
	output, code, err := m.Run(ctx, command+" && sleep 600")
	require.ErrorContains(t, err, "the guest restarted", "code %d: %s", code, output)
	up := time.Now()
	down.mu.Lock()
	defer down.mu.Unlock()
	require.False(t, down.last.IsZero(), "the end of the system is not on the console:\n%s", m.Console().Tail())
	took := up.Sub(down.last)
	down.last = time.Time{}
	return took
}

