package health_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/health"
)

// show runs a program that shows something.
func (m *machine) show(t *testing.T, program func(*machine) int) string {
	t.Helper()
	m.out.Reset()
	require.Zero(t, program(m), m.out)
	return m.out.String()
}

func status(m *machine) int { return health.ShowStatus(context.Background(), nil, m.Env) }

func TestStatusDuringTrial(t *testing.T) {
	m := trial(t)
	m.file("etc/coreos/update.conf", "GROUP=alpha\nSERVER=https://updates.example/v1/update/\n")
	m.clock = 20 * time.Second
	before := m.show(t, status)
	assert.Equal(t, `Version:  4889.0.0 from USR-B
Health:   starting: the health service has not looked yet (580 s left); this version is on trial
Updates:  group alpha, server https://updates.example/v1/update/, reboot strategy reboot

SLOT   VERSION   PRIORITY  TRIES  SUCCESSFUL  DEVICE
USR-A  4888.0.0  1         0      1           /dev/vda3
USR-B  4889.0.0  2         0      0           /dev/vda4  running
`, before)

	var during string
	m.units = func(now time.Duration) []health.Unit {
		if now > time.Minute {
			return up()
		}
		u := unit("app.service", 0)
		u.ActiveState, u.SubState = "activating", "start"
		return up(u)
	}
	sleep := m.Sleep
	m.Env.Sleep = func(ctx context.Context, d time.Duration) {
		m.out.Reset()
		assert.Zero(t, status(m))
		during += strings.Split(m.out.String(), "\n")[1] + "\n"
		sleep(ctx, d)
	}
	require.Zero(t, m.judge(), m.out)
	assert.Contains(t, during, "Health:   waiting: app.service is activating (start) (580 s left); this version is on trial\n")
	assert.Contains(t, m.show(t, status), "\nHealth:   healthy\n")
	assert.Contains(t, m.show(t, status), "\nUSR-B  4889.0.0  2         0      1 ")
}

func TestStatusAfterFailure(t *testing.T) {
	m := trial(t)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge())
	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	m.units = func(time.Duration) []health.Unit { return up() }
	require.Zero(t, m.judge())
	assert.Equal(t, `Version:  4888.0.0 from USR-A
Health:   healthy
Updates:  group -, server -, reboot strategy reboot

SLOT   VERSION   PRIORITY  TRIES  SUCCESSFUL  DEVICE
USR-A  4888.0.0  1         0      1           /dev/vda3  running
USR-B  4889.0.0  2         0      0           /dev/vda4

Last failure, 2026-11-21 08:00:10 UTC:
  version 4889.0.0 in USR-B failed: app.service failed (exit-code, status 3)
`, m.show(t, status))

	var got health.Status
	text := m.show(t, func(m *machine) int { return health.ShowStatus(t.Context(), []string{"--json"}, m.Env) })
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.Equal(t, "healthy", got.Health.Phase)
	assert.Equal(t, "app.service failed (exit-code, status 3)", got.Failures[0].Reason)
	assert.Len(t, got.Slots, 2)
	assert.Contains(t, text, `"problems": []`)
}

// A slot with an update that waits for a restart.
func TestStatusBeforeRestart(t *testing.T) {
	m := newMachine(t)
	m.set(partUSRB, 2, 1, false)
	assert.Contains(t, m.show(t, status), "reboot strategy reboot; a restart starts 4889.0.0\n")
}

// Who may not read the disk sees what was there when somebody did.
func TestStatusWithoutTheDisk(t *testing.T) {
	m := trial(t)
	require.Zero(t, m.judge())
	require.NoError(t, os.Chmod(m.path("dev/vda"), 0))
	if os.Geteuid() == 0 {
		// Root reads everything: be nobody, in this thread only.
		require.NoError(t, os.Chmod(filepath.Dir(m.Root), 0o755))
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := unix.SetfsuidRetUid(65534)
		require.NoError(t, err)
		defer func() { _, _ = unix.SetfsuidRetUid(0) }()
	}
	_, err := os.Open(m.path("dev/vda"))
	require.ErrorIs(t, err, os.ErrPermission)
	assert.Contains(t, m.show(t, status), "\nUSR-B  4889.0.0  2         0      1 ")
}

func TestStatusErrors(t *testing.T) {
	m := newMachine(t)
	assert.Equal(t, 2, health.ShowStatus(t.Context(), []string{"now"}, m.Env))
	assert.Equal(t, "usage: slipway-host status [--json]\n", m.out.String())
	m.out.Reset()
	m.file("run/slipway/boot.json", "[]")
	assert.Equal(t, 1, health.ShowStatus(t.Context(), nil, m.Env))
	assert.Equal(t, "slipway-host status: boot report /run/slipway/boot.json: json: cannot unmarshal array into Go value of type slots.Boot\n",
		m.out.String())
	m.out.Reset()
	require.NoError(t, os.Remove(m.path("run/slipway/boot.json")))
	assert.Equal(t, 1, health.ShowStatus(t.Context(), nil, m.Env))
	assert.Equal(t, "slipway-host status: this machine was not started from a slot\n", m.out.String())
}

// What others wrote into the state and the reports is shown, not believed.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"failures":[{"slot":"USR-B","reason":"x"}]}`), []byte(`{"phase":"settling","until":5}`))
	f.Add([]byte(`{"trial":{}}`), []byte(`{"slots":[{"priority":-1}]}`))
	m := newMachine(f)
	f.Fuzz(func(t *testing.T, state, run []byte) {
		m.t = t
		m.file("var/lib/slipway/health.json", string(state))
		m.file("run/slipway/health.json", string(run))
		m.out.Reset()
		assert.Zero(t, status(m))
		assert.Zero(t, health.ShowStatus(t.Context(), []string{"--json"}, m.Env), m.out)
	})
}
