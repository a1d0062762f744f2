package health

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"slipway/cmd/internal/slots"

	"golang.org/x/sys/unix"
)

// Host is the Env of a running machine.
func Host(name string) *Env {
	return &Env{
		Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Root: "/",
		Now: time.Now, Uptime: monotonic, Sleep: sleep, Systemd: Systemctl{}, Mounted: slots.Host().Mounted,
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Main is the program "slipway-host health".
func Main(ctx context.Context, args []string, e *Env) int {
	flags := flag.NewFlagSet(e.Name, flag.ContinueOnError)
	flags.SetOutput(e.Stderr)
	flags.Usage = func() {
		fmt.Fprintf(e.Stderr, "usage: %s [--settle DURATION] [--timeout DURATION]\n"+
			"Judges this boot by boot-complete.target; a service of systemd runs it.\n", e.Name)
	}
	settle := flags.Duration("settle", -1, "in place of HEALTH_SETTLE of update.conf")
	timeout := flags.Duration("timeout", -1, "in place of HEALTH_TIMEOUT of update.conf")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if err == nil {
			flags.Usage()
		}
		return 2
	}
	return Watch(ctx, e, *settle, *timeout)
}
