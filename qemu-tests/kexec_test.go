package qemutests_test

import (
	"context"
	"fmt"
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

// downtime notes the last word of a system on the console.
type downtime struct {
	cpu func() time.Duration // that the machine took so far

	mu   sync.Mutex
	last moment
}

// moment is a time on two clocks: the second one does not go on while the host
// does other things.
type moment struct {
	at  time.Time
	cpu time.Duration
}

func (d *downtime) now() moment { return moment{time.Now(), d.cpu()} }

// since is how long ago a moment was.
func (d *downtime) since(m moment) span { return span{time.Since(m.at), d.cpu() - m.cpu} }

// span is a time on two clocks.
type span struct{ wall, cpu time.Duration }

// over compares spans.
func (s span) over(other span) string {
	return fmt.Sprintf("%.2f (%.2f of processor time)",
		s.wall.Seconds()/other.wall.Seconds(), s.cpu.Seconds()/other.cpu.Seconds())
}

// hear takes a line of the console.
func (d *downtime) hear(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cpu != nil && lastWords.MatchString(line) {
		d.last = d.now()
	}
}

// begin has it listen, with the clock of a machine that runs.
func (d *downtime) begin(cpu func() time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cpu = cpu
}

// TestKexecReboot restarts past the firmware, into a version on trial and into
// proven ones, and by way of the firmware for comparison.
func TestKexecReboot(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		newer := l.variant(t, next)
		down := new(downtime)
		m := l.used(t).boot(t, lean(&vm.Config{
			Firmware: vm.UEFI, CPUs: 1, Memory: 2048, Credentials: healthSoon(), Log: down.hear,
		}))
		m.booted(t)
		m.runs(t, "USR-A", l.release)
		down.begin(m.CPUTime)

		command := "locksmithctl reboot"
		restart := func(to string) (took span, console string) {
			t.Helper()
			before := len(m.Console().Text())
			took = m.restartBy(t, down, command)
			console = m.Console().Text()[before:]
			t.Logf("into %s: first command %.1f s after the last word before, %.1f s of processor time",
				to, took.wall.Seconds(), took.cpu.Seconds())
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
		assert.Contains(t, cmdline, "slipway.test=next slipway.verify=lazy slipway.esp=")
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
		command = "locksmithctl send-need-reboot" // locksmithd does it
		proven, console := restart("USR-B, proven, by kexec")
		assert.NotContains(t, console, "BdsDxe")
		m.runs(t, "USR-B", newer)
		t.Logf("down by kexec, of by the firmware into the same version: %s; into another: %s; on trial: %s and %s",
			proven.over(firmware), proven.over(back), trial.over(firmware), trial.over(back))
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
func (m *machine) restartBy(t testing.TB, down *downtime, command string) span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m.run(t, "systemctl start multi-user.target dbus.service") // it may be early
	output, code, err := m.Run(ctx, command+" && sleep 600")
	require.ErrorContains(t, err, "the guest restarted", "code %d: %s", code, output)
	down.mu.Lock()
	defer down.mu.Unlock()
	require.False(t, down.last.at.IsZero(), "the end of the system is not on the console:\n%s", m.Console().Tail())
	took := down.since(down.last)
	down.last = moment{}
	return took
}
