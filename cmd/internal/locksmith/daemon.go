package locksmith

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/updateconf"
)

// Daemon is the program locksmithd. It returns the exit code.
func Daemon(ctx context.Context, args []string, e *Env) int {
	c := updateconf.ReadOver(os.DirFS(e.Root), e.environment())
	var s settings
	f, err := e.flags("LOCKSMITHD", c, &s)
	if err != nil {
		return e.fail(err)
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case f.NArg() > 0:
		fmt.Fprintf(e.Stderr, "%s: takes no arguments, got %q\n", e.Name, f.Arg(0))
		return 2
	case s.version:
		fmt.Fprintf(e.Stdout, "%s version %s\n", e.Name, e.version())
		return 0
	}
	c.Reboot.Etcd = s.etcd
	if err := e.coordinate(ctx, c); err != nil {
		return e.fail(err)
	}
	return 0
}

// coordinate runs the coordinator on this machine.
func (e *Env) coordinate(ctx context.Context, c *updateconf.Config) error {
	b, err := systemBus(context.WithoutCancel(ctx), e.Stdout)
	if err != nil {
		return err
	}
	defer b.Close()
	return coordinator.Run(ctx, &coordinator.Env{
		Stdout: e.Stdout, Root: e.Root, Now: e.Now, Config: c,
		Random:   func(most time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(max(most, 1)))) },
		OpenLock: openLock,
		Health: func(ctx context.Context, judged func(*health.Report)) error {
			return health.Follow(ctx, e.Root, func() {
				r, err := health.ReadReport(e.Root)
				if err != nil {
					fmt.Fprintln(e.Stdout, err)
					return
				}
				judged(r)
			})
		},
		Ready:  func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) },
		Follow: b.Follow, EtcdRuns: b.EtcdRuns, Tell: b.Tell, Restart: b.Restart,
	})
}

func (e *Env) fail(err error) int {
	fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
	return 1
}
