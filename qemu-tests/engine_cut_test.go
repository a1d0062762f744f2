package qemutests_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// testPowerCuts cuts the power of a machine three times while it downloads and
// once while it finishes: each time it goes on near where it was, and in the
// end the slot is right.
func testPowerCuts(t *testing.T, l *lab) {
	newer := l.variant(t, next)
	u := newUpdates(t, l)
	u.offer(t, l.Channel, newer, map[string]string{"update.payload": l.fullPayload(t, next)})
	m := l.used(t).boot(t, u.online(lean(&vm.Config{})))
	m.up(t)
	m.asks(t)

	for _, cut := range []struct {
		percent int
		pattern string
	}{
		{10, `PROGRESS=(0\.[1-9]|1)`}, {50, `PROGRESS=(0\.[5-9]|1)`}, {90, `PROGRESS=(0\.9|1)`},
	} {
		m.looks(t)
		m.reaches(t, cut.pattern)
		m.run(t, "systemctl kill -s STOP update-engine.service") // what came so far is what counts
		m.PowerCut()
		before := u.wire.passed.Load()
		m.start(t)
		m.up(t)
		m.runs(t, "USR-A", l.release)
		assert.Equal(t, "priority=0 tries=0 successful=0", m.attributes(t, 4), "%d %%", cut.percent)
		m.looks(t)
		m.run(t, "grep -qm 1 'going on at' < <(exec journalctl -b -f -n all -o cat -u update-engine.service)")
		at, size := resumed(t, m.engineLog(t))
		t.Logf("cut at %d %%: %d bytes had gone into the wire, of %d, and it went on at %d", cut.percent, before, size, at)
		assert.GreaterOrEqual(t, at, size*int64(cut.percent-10)/100)
	}
	m.reaches(t, "CURRENT_OP=UPDATE_STATUS_(FINALIZING|UPDATED_NEED_REBOOT)")
	m.PowerCut()
	m.start(t)
	m.up(t)
	if m.bootReport(t).Slot == "USR-A" { // it was not done; else this is its first start
		require.Contains(t, m.updates(t), needReboot+newer.Version)
	}
	assert.Equal(t, digestLine(t, newer.path("usr.img")), m.run(t, "sha256sum </dev/vda4"))
}

// resumed is where the engine said it goes on.
func resumed(t testing.TB, log string) (at, size int64) {
	m := regexp.MustCompile(`going on at (\d+) of (\d+) bytes`).FindStringSubmatch(log)
	require.NotNil(t, m, log)
	at, err := strconv.ParseInt(m[1], 10, 64)
	require.NoError(t, err)
	size, err = strconv.ParseInt(m[2], 10, 64)
	require.NoError(t, err)
	return at, size
}

// testBadNetwork updates a machine whose server dies and comes back, over a
// line that is slow and breaks, with a ROOT that has no room left. Then it
// changes its channel.
func testBadNetwork(t *testing.T, l *lab) {
	newer := l.variant(t, next)
	u := newUpdates(t, l)
	full := map[string]string{"update.payload": l.fullPayload(t, next)}
	u.offer(t, l.Channel, newer, full)
	newest := l.variant(t, later)
	u.offer(t, "edge", newest, l.deltaPayload(t, t.TempDir(), l.release, newest))

	m := l.used(t).boot(t, u.online(lean(&vm.Config{})))
	m.up(t)
	m.asks(t)
	m.run(t, "fallocate -l $((($(stat -f -c %f /var) - 8192) * 4096)) /var/filler; "+
		"dd if=/dev/zero of=/var/filler2 bs=1M status=none; test $(df --output=avail /var | tail -n 1) = 0")
	size := fileSize(t, full["update.payload"])
	u.wire.rate.Store(size / 4)
	m.looks(t)
	m.reaches(t, `PROGRESS=(0\.[2-9]|1)`)
	u.kill()
	u.wire.cut()
	m.run(t, "grep -qm 1 'download interrupted at' < <(exec journalctl -b -f -n all -o cat -u update-engine.service)")
	u.start(t)
	m.reaches(t, `PROGRESS=(0\.[5-9]|1)`)
	u.wire.rate.Store(0)
	u.wire.cut()
	m.reaches(t, "CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT")
	assert.Equal(t, digestLine(t, newer.path("usr.img")), m.run(t, "sha256sum </dev/vda4"))
	assert.Contains(t, m.engineLog(t), "checkpoint not kept: ")

	// Another channel has a newer version: it takes the place of the one that
	// waits.
	m.run(t, "rm /var/filler*; slipway-host channel edge")
	assert.Equal(t, "edge", m.run(t, "slipway-host channel"))
	m.looks(t)
	m.reaches(t, "NEW_VERSION="+regexp.QuoteMeta(newest.Version))
	m.reaches(t, "CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT")
	assert.Equal(t, digestLine(t, newest.path("usr.img")), m.run(t, "sha256sum </dev/vda4"))
	assert.Contains(t, u.get(t, "/"), "<td>edge</td>")
}
