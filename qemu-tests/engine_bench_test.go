package qemutests_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// BenchmarkSlotWrite has a machine install a full payload, and for comparison
// write a slot's worth of the same data with dd, synced:
//
//	go test -run - -bench SlotWrite -benchtime 1x -timeout 30m ./qemu-tests
func BenchmarkSlotWrite(b *testing.B) {
	l := shared.lab(b, "alpha")
	newer := l.variant(b, next)
	u := newUpdates(b, l)
	u.offer(b, l.Channel, newer, map[string]string{"update.payload": l.fullPayload(b, next)})
	m := l.used(b).boot(b, u.online(&vm.Config{Memory: 2048}))
	m.booted(b)
	m.asks(b)
	const pid = "$(systemctl show -P MainPID update-engine.service)"
	idle := m.kilobytes(b, "grep VmRSS /proc/"+pid+"/status")
	for b.Loop() {
		dd := m.seconds(b, "dd if=/dev/vda3 of=/dev/vda4 bs=1M conv=fsync status=none")
		update := m.seconds(b, "update_engine_client -update >/dev/null")
		require.Contains(b, m.run(b, "update_engine_client -status"), needReboot)
		b.ReportMetric(dd, "dd-s")
		b.ReportMetric(update, "update-s")
		b.ReportMetric(dd/update, "of-dd")
		b.ReportMetric(idle/1024, "idle-MiB")
		b.ReportMetric(m.kilobytes(b, "grep VmHWM /proc/"+pid+"/status")/1024, "peak-MiB")
		m.run(b, "update_engine_client -reset_status; echo 3 >/proc/sys/vm/drop_caches")
	}
}

// seconds is how long a command takes in the guest.
func (m *machine) seconds(t testing.TB, command string) float64 {
	t.Helper()
	return m.number(t, "read a _ </proc/uptime; { "+command+"; } >&2; read b _ </proc/uptime; "+
		"echo $b $a | awk '{print $1 - $2}'")
}

// kilobytes is the number in a line of /proc/PID/status.
func (m *machine) kilobytes(t testing.TB, command string) float64 {
	t.Helper()
	return m.number(t, command+" | awk '{print $2}'")
}

func (m *machine) number(t testing.TB, command string) float64 {
	t.Helper()
	out := m.run(t, command)
	n, err := strconv.ParseFloat(out, 64)
	require.NoError(t, err, out)
	return n
}
