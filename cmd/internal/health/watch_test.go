package health_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/health"
)

// trial has the machine started from USR-B for the first time.
func trial(t *testing.T) *machine {
	m := newMachine(t)
	m.set(partUSRB, 2, 0, false)
	m.boot(partUSRB, nil)
	m.file("usr/lib/slipway/boot.efi", "stage 1 of "+newVersion)
	return m
}

// broken is a boot in which one required unit failed.
func broken() []health.Unit {
	u := unit("app.service", 0)
	u.ActiveState, u.SubState, u.Result, u.Status = "failed", "failed", "exit-code", 3
	units := up(u)
	units[3].ActiveState, units[3].Entered = "inactive", 0 // the target
	return units
}

func TestTrialBecomesProven(t *testing.T) {
	m := trial(t)
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, strings.Join([]string{
		"USR-B: version 4889.0.0 is on trial (priority=2 tries=0 successful=0)",
		"settling: everything is up, docker.service last, and has to stay so for 45s",
		"USR-B: version 4889.0.0 is healthy after 53s and proven now (priority=2 tries=0 successful=1)",
		"stage 1 is that of version 4889.0.0 now",
		"",
	}, "\n"), m.out.String())
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=0 successful=1", m.slots())
	assert.Equal(t, "stage 1 of "+newVersion, m.stage1())
	assert.Empty(t, m.read("dev/console"), "no news on the console")
	assert.Equal(t, 53*time.Second, m.clock)

	// The next boot has nothing to write.
	before := m.read("var/lib/slipway/health.json")
	m.boot(partUSRB, nil)
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "USR-B: version 4889.0.0 is healthy after 53s\n")
	assert.NotContains(t, m.out.String(), "stage 1")
	assert.Equal(t, strings.ReplaceAll(before, "boot-2", "boot-3"), m.read("var/lib/slipway/health.json"))
}

// Issue 3, case 8 and 15: a version fails, the old one says why, and another
// update into the same slot works as if nothing had been.
func TestTrialFailsAndAnotherSucceeds(t *testing.T) {
	m := trial(t)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, []int{0}, m.reboots)
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=0 successful=0", m.slots())
	assert.Equal(t, "stage 1 of "+oldVersion, m.stage1())
	assert.Equal(t, "slipway: version 4889.0.0 in USR-B is not healthy: app.service failed (exit-code, status 3)\r\n"+
		"slipway: restarting\r\n", m.read("dev/console"))

	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	m.file("usr/lib/slipway/boot.efi", "stage 1 of "+oldVersion)
	m.units = func(time.Duration) []health.Unit { return up() }
	require.Zero(t, m.judge(), m.out)
	const why = "version 4889.0.0 in USR-B failed: app.service failed (exit-code, status 3)"
	assert.Equal(t, "slipway: "+why+"\r\nslipway: this machine runs 4888.0.0 from USR-A\r\n", m.read("dev/console"))
	assert.Contains(t, m.out.String(), why+"\n")
	assert.Equal(t, "Update failed at 2026-11-21 08:00 UTC: "+why+"\n", m.read("var/lib/slipway/motd"))
	assert.Empty(t, m.reboots)

	// It is said again at every boot, as long as that version is there.
	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.read("dev/console"), why)

	m.install(partUSRB, "4890.0.0")
	m.set(partUSRB, 2, 1, false)
	m.boot(partUSRA, nil)
	require.Zero(t, m.judge(), m.out)
	assert.NotContains(t, m.out.String(), "failed")
	assert.Empty(t, m.read("var/lib/slipway/motd"))

	m.install(partUSRB, newVersion) // the very same once more, mended by hand
	m.set(partUSRB, 2, 0, false)
	m.boot(partUSRB, nil)
	m.file("usr/lib/slipway/boot.efi", "stage 1 of "+newVersion)
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=0 successful=1", m.slots())
	assert.NotContains(t, m.read("var/lib/slipway/health.json"), "failures")
	assert.Equal(t, "stage 1 of "+newVersion, m.stage1())
}

func TestHangIsEnded(t *testing.T) {
	m := trial(t)
	m.units = func(time.Duration) []health.Unit {
		u := unit("app.service", 0)
		u.ActiveState, u.SubState = "activating", "start"
		return up(u)
	}
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, []int{0}, m.reboots)
	assert.Contains(t, m.out.String(), "waiting: app.service is activating (start)\n"+
		"version 4889.0.0 in USR-B is not healthy: 10m0s after the start: app.service is activating (start)\nrestarting\n")
}

func TestTriesThatAreLeftStay(t *testing.T) {
	m := trial(t)
	m.set(partUSRB, 2, 2, false)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, []int{0}, m.reboots)
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=2 successful=0")

	m.set(partUSRB, 2, 1, false)
	m.boot(partUSRB, nil)
	m.units = func(time.Duration) []health.Unit { return up() }
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "version 4889.0.0 in USR-B failed: app.service failed")
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")
	assert.Empty(t, m.read("var/lib/slipway/motd"), "and then it did not")
}

func TestProvenSlotIsLeftAlone(t *testing.T) {
	m := newMachine(t)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge(), m.out)
	assert.Empty(t, m.reboots)
	assert.Contains(t, m.out.String(), "USR-A: version 4888.0.0 is not healthy: app.service failed (exit-code, status 3); "+
		"it is proven, so nothing follows\n")
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=0 tries=0 successful=0", m.slots())
}

// Tries that somebody left on a proven slot are taken away: they would be
// written to the disk at every start.
func TestStaleTries(t *testing.T) {
	m := newMachine(t)
	m.set(partUSRA, 1, 3, true)
	m.set(partUSRB, 2, 0, false)
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=0 successful=0", m.slots())
}

// A machine without another version stays, and comes back after a power cut.
func TestNothingToFallBackTo(t *testing.T) {
	m := trial(t)
	m.set(partUSRA, 0, 0, true)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge(), m.out)
	assert.Empty(t, m.reboots)
	assert.Contains(t, m.read("dev/console"), "there is no other version to start: staying, and keeping a try")
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=1 successful=0")
}

// A restart by hand while a version is on trial gives its try back, once.
func TestRestartDuringTrial(t *testing.T) {
	m := trial(t)
	m.stopAt = 30 * time.Second
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "stopped before this boot was judged\nUSR-B: version 4889.0.0 gets its try back, once\n")
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=1 successful=0")

	m.set(partUSRB, 2, 0, false)
	m.boot(partUSRB, nil)
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "version 4889.0.0 in USR-B failed: was restarted before it was judged; awaited was: everything is up")
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=0", "not for ever")
}

// A machine that goes down in the middle says so afterwards.
func TestDeathDuringTrial(t *testing.T) {
	for name, c := range map[string]struct {
		hung bool
		want string
	}{
		"panic": {false, "the machine went down without a word (panic, reset or power cut)"},
		"hang":  {true, "hung, and the watchdog restarted the machine"},
	} {
		t.Run(name, func(t *testing.T) {
			m := trial(t)
			kept := ""
			m.units = func(time.Duration) []health.Unit {
				kept = m.read("var/lib/slipway/health.json")
				return up()
			}
			m.stopAt = 30 * time.Second
			require.Zero(t, m.judge(), m.out)
			m.set(partUSRB, 2, 0, false)
			m.file("var/lib/slipway/health.json", kept)

			m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
			m.report["ended_by_watchdog"] = c.hung
			m.writeReport()
			m.stopAt = 0
			m.units = func(time.Duration) []health.Unit { return up() }
			require.Zero(t, m.judge(), m.out)
			assert.Contains(t, m.read("dev/console"), "slipway: version 4889.0.0 in USR-B failed: "+c.want)
		})
	}
}

// A version that never came to run anything is known from the boot engine.
func TestDeathBeforeTrial(t *testing.T) {
	m := newMachine(t)
	m.set(partUSRB, 2, 0, false)
	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	m.report["ended_by_watchdog"] = true
	m.writeReport()
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.read("dev/console"), "slipway: version 4889.0.0 in USR-B failed: its tries are spent and "+
		"it was never healthy; the start before this one hung, and the watchdog restarted the machine\r\n")
	// The next boot does not say that it hung; the reason of the first stays.
	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.read("dev/console"), "the start before this one hung")
	// What is wrong with it may change.
	m.boot(partUSRA, map[string]string{"USR-B": "verity: data block 7 is corrupt"})
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.read("dev/console"), "slipway: version 4889.0.0 in USR-B failed: verity: data block 7 is corrupt\r\n")
}

func TestNeverTheWrongSlot(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"/usr is elsewhere": func(m *machine) {
			m.Mounted = func(string) (string, error) { return "/dev/vda3", nil }
		},
		"another label": func(m *machine) { m.report["slot"] = "USR-C"; m.writeReport() },
		"not a slot":    func(m *machine) { m.report["partition"] = 6; m.writeReport() },
		"another disk":  func(m *machine) { m.report["disk"] = "/dev/vdb"; m.writeReport() },
		"no report":     func(m *machine) { m.file("run/slipway/boot.json", "{") },
	} {
		t.Run(name, func(t *testing.T) {
			m := trial(t)
			before := m.slots()
			change(m)
			assert.Equal(t, 1, m.judge())
			assert.NotContains(t, m.out.String(), "proven")
			assert.Equal(t, before, m.slots())
		})
	}
	m := trial(t)
	require.NoError(t, os.Remove(m.path("run/slipway/boot.json")))
	assert.Zero(t, m.judge())
	assert.Equal(t, "not started from a slot: there is nothing to judge\n", m.out.String())
}

// Somebody may change the table while the version is judged.
func TestTableChangesMeanwhile(t *testing.T) {
	m := trial(t)
	m.units = func(time.Duration) []health.Unit {
		m.set(partUSRB, 5, 3, false)
		return up()
	}
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.slots(), "USR-B priority=5 tries=0 successful=1")
}

func TestDamagedTableIsMended(t *testing.T) {
	m := newMachine(t)
	f, err := os.OpenFile(m.path("dev/vda"), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 512), 512)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.True(t, m.table().Damaged())
	require.Zero(t, m.judge(), m.out)
	assert.False(t, m.table().Damaged())
	assert.Contains(t, m.out.String(), "disk /dev/vda: a damaged or misplaced copy of the partition table was mended\n")
}

// What goes wrong after the mark was set is reported and tried again.
func TestStage1CannotBeWritten(t *testing.T) {
	m := trial(t)
	require.NoError(t, os.Rename(m.path("dev/vda1"), m.path("dev/good")))
	m.file("dev/vda1", "no file system")
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")
	assert.Contains(t, m.out.String(), "stage 1: /dev/vda1: fat: replace /EFI/BOOT/BOOTX64.EFI: boot sector: ")
	m.out.Reset()
	require.Zero(t, health.ShowStatus(t.Context(), nil, m.Env))
	assert.Contains(t, m.out.String(), "\nProblems:\n  stage 1: /dev/vda1: fat: ")

	require.NoError(t, os.Rename(m.path("dev/good"), m.path("dev/vda1")))
	m.boot(partUSRB, nil)
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, "stage 1 of "+newVersion, m.stage1())
}

// State that makes no sense, or cannot be kept, does not keep a version from
// being judged.
func TestStateIsNotNeeded(t *testing.T) {
	m := trial(t)
	m.file("var/lib/slipway/health.json", "not JSON")
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "starting with an empty one\n")
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")

	m = trial(t)
	m.file("var/lib/slipway", "in the way")
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")
}

func TestSettings(t *testing.T) {
	m := trial(t)
	m.file("etc/coreos/update.conf", "HEALTH_SETTLE=2min\nHEALTH_SETLE=1\n")
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.out.String(), "/etc/coreos/update.conf:2: unknown key \"HEALTH_SETLE\"\n")
	assert.Equal(t, 128*time.Second, m.clock)

	m = trial(t)
	require.Zero(t, health.Main(t.Context(), []string{"--settle=3s"}, m.Env))
	assert.Equal(t, 11*time.Second, m.clock)
	m.out.Reset()
	assert.Equal(t, 2, health.Main(t.Context(), []string{"now"}, m.Env))
	assert.Contains(t, m.out.String(), "usage: ")
}

// systemd that cannot be asked for a while is asked again.
func TestSystemdIsBusy(t *testing.T) {
	m := trial(t)
	m.Systemd = &busy{machine: m, left: 3}
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")
	m = trial(t)
	m.Systemd = &busy{machine: m, left: 1 << 30}
	require.Zero(t, m.judge(), m.out)
	assert.Equal(t, []int{0}, m.reboots)
	assert.Contains(t, m.out.String(), "version 4889.0.0 in USR-B is not healthy: systemctl show: busy\n")
}

type busy struct {
	*machine
	left int
}

func (b *busy) Units(ctx context.Context, names ...string) ([]health.Unit, error) {
	if b.left--; b.left >= 0 {
		return nil, errBusy
	}
	return b.machine.Units(ctx, names...)
}
