package qemutests_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// TestEngine has machines update themselves from a real server.
func TestEngine(t *testing.T) {
	eachChannel(t, everyChannel, func(t *testing.T, l *lab) {
		for _, c := range []struct {
			name  string
			scope scope
			run   func(*testing.T, *lab)
		}{
			{"there-and-back", everyChannel, testThereAndBack},
			{"refused", everyChannel, testRefused},
			{"rollback", everyChannel, testRollback},
			{"power-cuts", alphaOnly, testPowerCuts},
			{"bad-network", alphaOnly, testBadNetwork},
		} {
			if c.scope == alphaOnly && *channelFlag == "ci" && l.Channel != "alpha" {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, l)
			})
		}
	})
}

const needReboot = "CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT\nNEW_VERSION="

// testThereAndBack updates a machine by the full payload of a version, and on
// by a delta to the one after.
func testThereAndBack(t *testing.T, l *lab) {
	first := l.variant(t, next)
	u := newUpdates(t, l)
	u.offer(t, l.Channel, first, map[string]string{"update.payload": l.fullPayload(t, next)})

	c := u.online(lean(&vm.Config{}))
	c.Credentials = merge(c.Credentials, healthSoon())
	m := l.used(t).boot(t, c)
	m.up(t)
	m.asks(t)
	status := m.updates(t)
	require.Contains(t, status, needReboot+first.Version+"\n", m.engineLog(t))
	assert.Equal(t, "priority=2 tries=2 successful=0", m.attributes(t, 4))
	assert.Equal(t, m.run(t, "sha256sum </dev/vda4"), digestLine(t, first.path("usr.img")))
	t.Log(m.run(t, "grep -E 'VmHWM|VmRSS' /proc/$(systemctl show -P MainPID update-engine.service)/status"))
	t.Log(m.engineLog(t))

	m.reboot(t)
	m.runs(t, "USR-B", first)
	m.healthy(t)
	assert.Equal(t, "priority=2 tries=0 successful=1", m.attributes(t, 4))

	second := l.variant(t, later)
	delta := filepath.Join(t.TempDir(), "delta")
	l.slipway(t, "payload", "create", "--level", "development", "--from", first.dir, "-o", delta, second.dir)
	u.offer(t, l.Channel, second, map[string]string{"update-from-" + first.Version + ".payload": delta,
		"update.payload": delta}) // there is a full one, which nobody needs
	status = m.updates(t)
	require.Contains(t, status, needReboot+second.Version+"\n", m.engineLog(t))
	assert.Contains(t, m.engineLog(t), "update to "+second.Version+": delta of ")
	assert.Contains(t, m.engineLog(t), "version "+first.Version+" has taken the place of "+l.Version)
	assert.Contains(t, u.get(t, "/metrics"), `slipway_events_total{event="update complete",result="success after reboot"} 1`)

	m.reboot(t)
	m.runs(t, "USR-A", second)
	m.healthy(t)
	assert.Equal(t, "priority=2 tries=0 successful=1", m.attributes(t, 3))
	assert.Contains(t, m.updates(t), "CURRENT_OP=UPDATE_STATUS_IDLE")
}
