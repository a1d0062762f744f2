package qemutests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// Limits for a guest that hangs, on a busy machine without KVM. Nothing waits
// for a time where there is an event to wait for.
const (
	bootLimit    = 8 * time.Minute
	commandLimit = 4 * time.Minute
)

// machine is a VM under test.
type machine struct {
	*vm.VM
	lab     *lab
	started time.Time // last power on or restart
	kept    string    // what look says of ROOT, if it has something to lose
	looked  int       // how much of the console was looked at
}

// newMachine makes a machine with the release's disk, or the one that the
// configuration names, and switches it on.
func newMachine(t testing.TB, l *lab, c *vm.Config) *machine {
	m := offMachine(t, l, c)
	m.start(t)
	return m
}

// offMachine makes a machine that is off.
func offMachine(t testing.TB, l *lab, c *vm.Config) *machine {
	m := prepareMachine(t, l, c)
	m.watch(t)
	t.Cleanup(func() {
		if !t.Failed() || !*keepFlag {
			require.NoError(t, m.Close())
		}
	})
	return m
}

// prepareMachine makes a machine that somebody has to close.
func prepareMachine(t testing.TB, l *lab, c *vm.Config) *machine {
	c.Tools, c.Accel = l.tools, l.accel
	if c.Disk == "" {
		c.Disk = l.path("slipway.img")
	}
	if *consoleFlag {
		heard := c.Log
		c.Log = func(line string) {
			t.Log(line)
			if heard != nil {
				heard(line)
			}
		}
	}
	v, err := vm.New(t.Context(), c)
	require.NoError(t, err)
	return &machine{VM: v, lab: l}
}

// watch switches the machine off when the test ends. If the test fails it
// shows the console and how to run the machine again.
func (m *machine) watch(t testing.TB) {
	begin := m.CPUTime()
	t.Cleanup(func() {
		m.PowerCut()
		if !t.Failed() {
			t.Logf("the machine took %s of processor time", (m.CPUTime() - begin).Round(100*time.Millisecond))
			return
		}
		t.Logf("the console ended with\n%s\nrepeat: %s", m.Console().Tail(), repeat(t, m.lab.release))
		if *keepFlag {
			t.Logf("the machine's files are kept; run it: %s", m.Reproduce())
		}
	})
}

// start switches the machine on.
func (m *machine) start(t testing.TB) {
	t.Helper()
	m.started = time.Now()
	require.NoError(t, m.Start(t.Context()))
}

// try runs a command in the guest.
func (m *machine) try(t testing.TB, command string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	output, code, err := m.Run(ctx, command)
	require.NoError(t, err, "%s\n%s", command, m.Console().Tail())
	return strings.TrimSpace(output), code
}

// run runs a command in the guest that must succeed, and returns its output
// without white space at the ends.
func (m *machine) run(t testing.TB, command string) string {
	t.Helper()
	output, code := m.try(t, command)
	require.Zero(t, code, "in the guest: %s\n%s", command, output)
	return output
}

// up waits until commands can be run in the guest, early in the boot of its
// system, and returns how long that took.
func (m *machine) up(t testing.TB) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	require.NoError(t, m.Ready(ctx))
	return time.Since(m.started)
}

// reboot restarts the machine in order and waits until commands can be run.
func (m *machine) reboot(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m.started = time.Now()
	require.NoError(t, m.Reboot(ctx))
}

// shutdown switches the machine off in order.
func (m *machine) shutdown(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	require.NoError(t, m.Shutdown(ctx))
}

// dies runs a command that the guest does not survive, and returns when the
// next boot has come to its system.
func (m *machine) dies(t testing.TB, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	_, _, err := m.Run(ctx, command)
	require.ErrorContains(t, err, "the guest restarted", m.Console().Tail())
}

// booted waits until every unit of the boot is up, and fails if one is not.
func (m *machine) booted(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	agent := m.up(t)
	state, _, err := m.Run(ctx, "systemctl is-system-running --wait")
	require.NoError(t, err, m.Console().Tail())
	if state = strings.TrimSpace(state); state != "running" {
		failed, _ := m.try(t, "systemctl --failed --plain --no-legend; systemctl list-jobs; "+
			"for u in $(systemctl --failed --plain --no-legend | awk '{print $1}'); do "+
			"journalctl -b --no-pager -n 20 -u $u; done")
		t.Fatalf("the system is %q, want %q\n%s", state, "running", failed)
	}
	t.Logf("first command after %s, all units up after %s",
		agent.Round(100*time.Millisecond), time.Since(m.started).Round(100*time.Millisecond))
	require.Equal(t, "active", m.run(t, "systemctl is-active multi-user.target"))
}

// bootReport is what bootengine says of the boot.
type bootReport struct {
	Slot     string            `json:"slot"`
	Device   string            `json:"device"`
	Version  string            `json:"version"`
	RootHash string            `json:"root_hash"`
	Failures map[string]string `json:"failures"`
}

func (m *machine) bootReport(t testing.TB) bootReport {
	t.Helper()
	var r bootReport
	require.NoError(t, json.Unmarshal([]byte(m.run(t, "cat /run/slipway/boot.json")), &r))
	return r
}

// runs checks that the machine runs a version from a slot, and that nothing in
// ROOT was lost.
func (m *machine) runs(t testing.TB, slot string, r *release) bootReport {
	t.Helper()
	report := m.bootReport(t)
	assert.Equal(t, slot, report.Slot)
	assert.Equal(t, r.Version, report.Version)
	assert.Equal(t, r.Version+"\n"+slot, m.run(t, ". /etc/os-release; echo $VERSION_ID; "+
		"d=$(rootdev -s /usr); cgpt show -i ${d##*[a-z]} -l ${d%%[0-9]*}"))
	if m.kept != "" {
		assert.Equal(t, m.kept, m.run(t, look), "ROOT")
	}
	return report
}

// attributes are those of a partition, as in "priority=1 tries=0 successful=1".
func (m *machine) attributes(t testing.TB, number int) string {
	t.Helper()
	shown := m.run(t, fmt.Sprintf("cgpt show -i %d /dev/vda", number))
	_, attributes, ok := strings.Cut(shown, "Attr: ")
	require.True(t, ok, shown)
	return attributes
}

// says checks that the journal of this boot has a line of bootengine's.
func (m *machine) says(t testing.TB, pattern string) {
	t.Helper()
	assert.Regexp(t, "(?m)^"+pattern, m.journal(t))
}

// journal is what bootengine said in this boot, as the journal has it.
func (m *machine) journal(t testing.TB) string {
	t.Helper()
	return m.run(t, "systemctl start systemd-journal-flush.service; "+
		"journalctl --sync; journalctl -b -t slipway -o cat --no-pager")
}

// expect waits for a line on the console.
func (m *machine) expect(t testing.TB, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	match, err := m.Expect(ctx, pattern)
	require.NoError(t, err)
	return match
}

// heavy are the units of what takes the most time: containers and ssh.
var heavy = []string{
	"containerd.service", "docker.service", "docker.socket", "ssh.service", "sshd-keygen.service",
}

// lean leaves out of the machine what takes the most time and neither updates
// nor restarts need: containers, etcd, the fleet, ssh, logins, names and the
// time of the network, and a second processor, for machines run side by side.
func lean(c *vm.Config) *vm.Config {
	return without(without(c, heavy...), "etcd.service", "fleet.service", "fleet.socket", "fleet-drain.service",
		"systemd-resolved.service", "systemd-timesyncd.service", "systemd-network-generator.service",
		"systemd-user-sessions.service")
}

// offline is lean, and the network is left out too, with what looks for updates
// and restarts by itself.
func offline(c *vm.Config) *vm.Config {
	return without(lean(c), "update-engine.service", "locksmithd.service", "systemd-networkd.service",
		"systemd-networkd.socket", "getty@tty1.service", "serial-getty@ttyS0.service")
}

// bare leaves out everything, health included: for machines of which the test
// looks at what comes before the system.
func bare(c *vm.Config) *vm.Config {
	c.CPUs, c.AgentOnly = 1, true
	return c
}

// without leaves units out of a machine of one processor, by a condition that
// does not hold: its health does not ask for such units.
func without(c *vm.Config, units ...string) *vm.Config {
	c.CPUs = 1
	if c.Credentials == nil {
		c.Credentials = map[string]string{}
	}
	for _, name := range units {
		c.Credentials["systemd.unit-dropin."+name] = "[Unit]\nConditionPathExists=/nowhere\n"
	}
	return c
}
