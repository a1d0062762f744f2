package qemutests_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// TestEngine has machines update themselves from a server.
func TestEngine(t *testing.T) {
	eachChannel(t, everyChannel, func(t *testing.T, l *lab) {
		for _, c := range []struct {
			name  string
			scope scope
			run   func(*testing.T, *lab)
		}{
			{"life", everyChannel, testLife},
			{"power-cuts", alphaOnly, testPowerCuts},
			{"refused", alphaOnly, testRefused},
			{"bad-network", alphaOnly, testBadNetwork},
			{"stress", alphaOnly, testStress},
		} {
			if !slices.Contains(channels(t, c.scope), l.Channel) {
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

// testLife is the life of a machine with a real server: payloads that somebody
// tampered with, a good version, and by deltas one whose kernel panics and a
// better one.
func testLife(t *testing.T, l *lab) {
	good, bad, better := l.variant(t, next), l.variant(t, panics), l.variant(t, later)
	dir := t.TempDir()
	u := newUpdates(t, l)
	c := u.online(lean(&vm.Config{}))
	c.Credentials = merge(c.Credentials, healthSoon())
	m := l.used(t).boot(t, c)
	m.up(t)
	m.asks(t, "UPDATE_TRIES=1")

	for _, from := range []string{tampered(t, l.fullPayload(t, next), dir), l.strangePayload(t, dir)} {
		u.offer(t, l.Channel, good, map[string]string{"update.payload": from})
		assert.Contains(t, m.updates(t), "CURRENT_OP=UPDATE_STATUS_IDLE")
		assert.Equal(t, "priority=0 tries=0 successful=0", m.attributes(t, 4))
		u.forget(t) // the failure, after which it would not be offered for a day
	}
	assert.Regexp(t, `the data of \S+ is not what was signed`, m.engineLog(t))
	assert.Contains(t, m.engineLog(t), "not signed by a known key")

	u.offer(t, l.Channel, good, map[string]string{"update.payload": l.fullPayload(t, next)})
	status := m.updates(t)
	require.Contains(t, status, needReboot+good.Version+"\n", m.engineLog(t))
	assert.Equal(t, "priority=2 tries=1 successful=0", m.attributes(t, 4))
	t.Log(m.run(t, "grep -E 'VmHWM|VmRSS|Rss' /proc/$(systemctl show -P MainPID update-engine.service)/status"))
	t.Log(m.engineLog(t))
	m.reboot(t)
	m.runs(t, "USR-B", good)
	m.healthy(t)
	assert.Equal(t, "priority=2 tries=0 successful=1", m.attributes(t, 4))

	u.offer(t, l.Channel, bad, l.deltaPayload(t, dir, good, bad))
	require.Contains(t, m.updates(t), needReboot+bad.Version+"\n", m.engineLog(t))
	assert.Contains(t, m.engineLog(t), "version "+good.Version+" has taken the place of "+l.Version)
	assert.Contains(t, u.get(t, "/metrics"), `slipway_events_total{event="update complete",result="success after reboot"} 1`)
	m.reboot(t) // into the bad one, and by its panic back
	m.runs(t, "USR-B", good)
	assert.Equal(t, "priority=2 tries=0 successful=0", m.attributes(t, 3))
	passed := u.wire.passed.Load()
	assert.Contains(t, m.updates(t), "CURRENT_OP=UPDATE_STATUS_IDLE")
	assert.Contains(t, m.engineLog(t), fmt.Sprintf("version %s was started and did not stay", bad.Version))
	assert.Contains(t, u.get(t, "/metrics"), `slipway_update_errors_total{code="44"} 1`)
	assert.Less(t, u.wire.passed.Load()-passed, int64(1<<20), "the server does not offer it again")
	assert.Equal(t, "priority=2 tries=0 successful=0", m.attributes(t, 3), "nor is it tried again")
	if l.Channel != "alpha" && *channelFlag == "ci" {
		return
	}

	u.offer(t, l.Channel, better, l.deltaPayload(t, dir, good, better))
	require.Contains(t, m.updates(t), needReboot+better.Version+"\n", m.engineLog(t))
	assert.Contains(t, m.engineLog(t), "update to "+better.Version+": delta of ")
	m.reboot(t)
	m.runs(t, "USR-A", better)
	m.healthy(t)
	assert.Contains(t, m.updates(t), "CURRENT_OP=UPDATE_STATUS_IDLE")
	assert.Contains(t, u.get(t, "/metrics"), `slipway_events_total{event="update complete",result="success after reboot"} 2`)
}
