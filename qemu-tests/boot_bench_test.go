package qemutests_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// BenchmarkBoot boots the alpha image for the first time. engine-s is when the
// slot is verified and systemd about to start, up-s when all units are up;
// cpu-s is the processor time of QEMU for the whole of it, which a busy host
// changes least.
func BenchmarkBoot(b *testing.B) {
	if testing.Short() {
		b.Skip("boots machines; -short leaves that out")
	}
	r := shared.lab(b, "alpha")
	for _, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		b.Run(string(firmware), func(b *testing.B) {
			var engine, agent, up, cpu float64
			for range b.N {
				engineAt := make(chan time.Time, 1)
				v, err := vm.New(b.Context(), &vm.Config{
					Tools: shared.tools, Accel: shared.accel, Disk: r.path("slipway.img"),
					Firmware: firmware, Memory: 2048,
					Log: func(line string) {
						if strings.HasPrefix(line, "slipway: boot ") {
							engineAt <- time.Now()
							b.Log(line)
						}
					},
				})
				require.NoError(b, err)
				start := time.Now()
				require.NoError(b, v.Start(b.Context()))
				require.NoError(b, v.Ready(b.Context()))
				agent += time.Since(start).Seconds()
				_, _, err = v.Run(b.Context(), "systemctl is-system-running --wait")
				require.NoError(b, err)
				up += time.Since(start).Seconds()
				v.PowerCut()
				engine += (<-engineAt).Sub(start).Seconds()
				cpu += v.CPUTime().Seconds()
				require.NoError(b, v.Close())
			}
			n := float64(b.N)
			b.ReportMetric(engine/n, "engine-s")
			b.ReportMetric(agent/n, "agent-s")
			b.ReportMetric(up/n, "up-s")
			b.ReportMetric(cpu/n, "cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
