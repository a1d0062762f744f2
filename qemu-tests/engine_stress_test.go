package qemutests_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// testStress updates a machine that is busy: its etcd, which syncs every write
// to the disk that the update writes to, must not suffer for it.
func testStress(t *testing.T, l *lab) {
	newer := l.variant(t, next)
	u := newUpdates(t, l)
	u.offer(t, l.Channel, newer, map[string]string{"update.payload": l.fullPayload(t, next)})
	m := l.used(t).boot(t, u.online(&vm.Config{Memory: 2048}))
	m.booted(t)
	m.asks(t)
	m.run(t, "systemd-run --quiet --unit stress sh -c 'sha256sum /dev/zero'")

	without := m.latencies(t, "seq 40")
	m.looks(t)
	m.reaches(t, `PROGRESS=0\.[0-9]*[1-9]`)
	with := m.latencies(t, "seq 40")
	status := m.run(t, "update_engine_client -status")
	require.Contains(t, status, "CURRENT_OP=UPDATE_STATUS_DOWNLOADING", "the update was over too soon to tell")

	t.Logf("a write to etcd on the busy machine takes %s, during the update %s", without, with)
	assert.Less(t, with.median, 3*without.median+0.1)
	assert.Less(t, with.worst, 3*without.worst+1)
}

// latency is how long requests took, in seconds.
type latency struct{ median, worst float64 }

func (l latency) String() string {
	return fmt.Sprintf("%.0f ms (at most %.0f ms)", l.median*1000, l.worst*1000)
}

// latencies times a write to etcd for each line of a command.
func (m *machine) latencies(t testing.TB, each string) latency {
	t.Helper()
	out := m.run(t, each+` | while read n; do curl -sf -o /dev/null -w '%{time_total}\n' `+
		`-d '{"key":"a2V5","value":"dmFsdWU="}' http://127.0.0.1:2379/v3/kv/put; done`)
	var all []float64
	for _, line := range strings.Fields(out) {
		seconds, err := strconv.ParseFloat(line, 64)
		require.NoError(t, err, out)
		all = append(all, seconds)
	}
	slices.Sort(all)
	return latency{all[len(all)/2], all[len(all)-1]}
}
