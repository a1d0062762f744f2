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

// TestKexecReboot takes a machine into a version on trial by way of the firmware,
// and back into one on trial past it: that is how long each update has the
// machine down. Then it restarts into the version it runs, for which only the
// firmware will do.
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
		restart := func(into, command string) (took span, console string) {
			t.Helper()
			before := len(m.Console().Text())
			took = m.restartBy(t, down, command)
			t.Logf("into %s: first command %.1f s after the last word before, %.1f s of processor time",
				into, took.wall.Seconds(), took.cpu.Seconds())
			return took, m.Console().Text()[before:]
		}
		loader := func() string { return m.run(t, "journalctl -b -1 -o cat --no-pager -u slipway-kexec.service") }

		m.run(t, "cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
		firmware, console := restart("USR-B on trial, by the firmware", "locksmithctl reboot")
		assert.Contains(t, console, "BdsDxe: starting")
		assert.Contains(t, console, kexec)
		m.runs(t, "USR-B", newer)
		m.healthy(t)

		m.run(t, "mkdir -p /etc/coreos && echo REBOOT_METHOD=kexec >/etc/coreos/update.conf && "+
			"cgpt add -i 3 -P 3 -T 1 -S 0 /dev/vda")
		past, console := restart("USR-A on trial, past the firmware", "locksmithctl reboot")
		assert.NotContains(t, console, "BdsDxe", "the firmware")
		assert.NotContains(t, console, kexec, "a second kexec")
		m.runs(t, "USR-A", l.release)
		assert.Equal(t, "priority=3 tries=0 successful=0", m.attributes(t, 3), "one try is taken")
		cmdline := m.run(t, "cat /proc/cmdline")
		assert.Contains(t, cmdline, " slipway.verify=lazy slipway.esp=")
		assert.NotContains(t, cmdline, "slipway.slot=", "the boot engine chose by itself")
		assert.NotContains(t, cmdline, "slipway.test=")
		assert.Contains(t, loader(),
			"USR-A: the kernel of version "+l.Version+" is loaded: the restart goes past the firmware")
		assert.Equal(t, "active", m.run(t, "cat /sys/class/watchdog/watchdog0/state"))
		m.healthy(t)
		assert.Equal(t, "priority=3 tries=0 successful=1", m.attributes(t, 3))

		same, console := restart("USR-A, which runs, by the firmware", "locksmithctl send-need-reboot")
		assert.Contains(t, console, "BdsDxe: starting")
		assert.NotContains(t, console, kexec)
		m.runs(t, "USR-A", l.release)
		assert.Contains(t, loader(),
			"restarting by way of the firmware: no other slot is to be started than the running USR-A")
		t.Logf("down for an update past the firmware: %s of one by it; %s of a restart without an update",
			past.over(firmware), past.over(same))
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
