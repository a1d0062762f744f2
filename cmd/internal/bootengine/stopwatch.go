package bootengine

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch measures the phases of a boot on the kernel's clock since power-on.
type stopwatch struct {
	last   time.Duration
	phases []phase
}

type phase struct {
	name string
	took time.Duration
}

// start ends the phase before PID 1, "kernel".
func (s *stopwatch) start() { s.lap("kernel") }

// lap ends a phase.
func (s *stopwatch) lap(name string) {
	now := sinceBoot()
	s.phases = append(s.phases, phase{name, now - s.last})
	s.last = now
}

// String gives every phase and the total in milliseconds, as in
// "kernel=812 modules=120 total=932".
func (s *stopwatch) String() string {
	var b strings.Builder
	total := time.Duration(0)
	for _, p := range s.phases {
		fmt.Fprintf(&b, "%s=%d ", p.name, p.took.Milliseconds())
		total += p.took
	}
	fmt.Fprintf(&b, "total=%d", total.Milliseconds())
	return b.String()
}

func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
