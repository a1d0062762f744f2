package locksmith

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/updateconf"
)

// Daemon is the program locksmithd. It returns the exit code.
func Daemon(ctx context.Context, args []string, e *Env) int {
	for {
		read := e.daemonConfig()
		c, code := e.configure(args, read)
		if c == nil {
			return code
		}
		same, change := context.WithCancelCause(ctx)
		go e.watchConfig(same, read, change)
		err := e.coordinate(same, c)
		if err == nil {
			<-same.Done() // the strategy is off
		}
		changed := context.Cause(same) == errChanged
		change(nil)
		switch {
		case changed:
			fmt.Fprintln(e.Stdout, errChanged)
		case err != nil:
			return e.fail(err)
		default:
			return 0
		}
	}
}

// daemonConfig reads what is configured now.
func (e *Env) daemonConfig() *updateconf.Config {
	return updateconf.ReadOver(os.DirFS(e.Root), e.environment())
}

// configure puts the flags over a configuration. Without one the program ends.
func (e *Env) configure(args []string, read *updateconf.Config) (c *updateconf.Config, code int) {
	over := *read
	var s settings
	f, err := e.flags("LOCKSMITHD", &over, &s)
	if err != nil {
		return nil, e.fail(err)
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil, 0
	case err != nil:
		return nil, 2
	case f.NArg() > 0:
		fmt.Fprintf(e.Stderr, "%s: takes no arguments, got %q\n", e.Name, f.Arg(0))
		return nil, 2
	case s.version:
		fmt.Fprintf(e.Stdout, "%s version %s\n", e.Name, e.version())
		return nil, 0
	}
	over.Reboot.Etcd = s.etcd
	return &over, 0
}

// errChanged ends a run of the coordinator whose configuration is an old one: a
// machine must not restart by what was so once.
var errChanged = errors.New("update.conf has changed: starting over with it")

// configCheck is how often the configuration is looked at.
const configCheck = 2 * time.Second

// watchConfig calls change once the configuration is not as it was read.
func (e *Env) watchConfig(ctx context.Context, read *updateconf.Config, change func(error)) {
	tick := time.NewTicker(configCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !reflect.DeepEqual(read, e.daemonConfig()) {
				change(errChanged)
				return
			}
		}
	}
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
