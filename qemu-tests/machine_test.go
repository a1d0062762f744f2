package qemutests_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

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
	release *release
	started time.Time // last power on or restart
}

// newMachine makes a machine and switches it on. If the test fails it shows
// the console and how to run the machine again.
func newMachine(t testing.TB, b *bench, r *release, c *vm.Config) *machine {
	c.Tools, c.Accel = b.tools, b.accel
	if c.Disk == "" {
		c.Disk = r.path("slipway.img")
	}
	if *consoleFlag {
		c.Log = func(line string) { t.Log(line) }
	}
	v, err := vm.New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() {
		v.PowerCut()
		if !t.Failed() {
			require.NoError(t, v.Close())
			return
		}
		t.Logf("the console ended with\n%s\nrepeat: %s", v.Console().Tail(), repeat(t, r))
		if *keepFlag {
			t.Logf("the machine's files are kept; run it: %s", v.Reproduce())
			return
		}
		require.NoError(t, v.Close())
	})
	m := &machine{v, r, time.Now()}
	require.NoError(t, v.Start(t.Context()))
	return m
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

// booted waits until every unit of the boot is up, and fails if one is not.
func (m *machine) booted(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	require.NoError(t, m.Ready(ctx))
	agent := time.Since(m.started)
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

// expect waits for a line on the console.
func (m *machine) expect(t testing.TB, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	match, err := m.Expect(ctx, pattern)
	require.NoError(t, err)
	return match
}
