// Package host is the table of the programs that the host's one binary holds.
// It has no logic of its own: each program is a package beside it.
package host

import (
	"context"
	"crypto/rand"
	"maps"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/cgpt"
	"slipway/cmd/internal/channel"
	"slipway/cmd/internal/etcdcerts"
	"slipway/cmd/internal/etcdready"
	"slipway/cmd/internal/fleet/fleetctl"
	"slipway/cmd/internal/fleet/fleetd"
	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith"
	"slipway/cmd/internal/nextkernel"
	"slipway/cmd/internal/rootdev"
	"slipway/cmd/internal/updateclient"
	"slipway/cmd/internal/updateengine"
)

// Program is one of the host's programs.
type Program struct {
	// Run runs it under the name it was called by and returns the exit code.
	Run func(name string, args []string) int
	// Linked says that an image has a link of its name: it is one that people
	// know. The others are called as "slipway-host NAME".
	Linked bool
}

// Programs are the programs by the names they are called by.
func Programs() map[string]Program {
	return map[string]Program{
		"cgpt": {Linked: true, Run: func(name string, args []string) int {
			return cgpt.Main(args, cgpt.Env{
				Name: name, Stdout: os.Stdout, Stderr: os.Stderr, NewUUID: uuid.New,
				Dev: "/dev", Proc: "/proc", Sys: "/sys", Stat: unix.Stat,
			})
		}},
		"rootdev": {Linked: true, Run: func(name string, args []string) int {
			return rootdev.Main(args, rootdev.Env{
				Name: name, Stdout: os.Stdout, Stderr: os.Stderr,
				Dev: "/dev", Proc: "/proc", Sys: "/sys", Stat: unix.Stat,
			})
		}},
		"fleetd": {Linked: true, Run: func(_ string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return fleetd.Main(ctx, args, fleetd.Host()) })
		}},
		"fleetctl": {Linked: true, Run: func(_ string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return fleetctl.Main(ctx, args, fleetctl.Host()) })
		}},
		"update_engine_client": {Linked: true, Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int {
				return updateclient.Main(ctx, args, updateclient.Env{
					Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Connect: updateclient.SystemBus,
				})
			})
		}},
		"update_engine": {Linked: true, Run: func(_ string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return updateengine.Main(ctx, args, updateengine.Host()) })
		}},
		"channel": {Run: func(name string, args []string) int {
			return channel.Main(args, channel.Env{
				Name: "slipway-host " + name, Stdout: os.Stdout, Stderr: os.Stderr, Root: "/",
			})
		}},
		"locksmithctl": {Linked: true, Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return locksmith.Ctl(ctx, args, locksmith.Host(name)) })
		}},
		"locksmithd": {Linked: true, Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return locksmith.Daemon(ctx, args, locksmith.Host(name)) })
		}},
		"kexec": {Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int {
				return nextkernel.Main(ctx, args, nextkernel.Host("slipway-host "+name))
			})
		}},
		"etcd-certs": {Run: func(name string, args []string) int {
			return etcdcerts.Main(args, etcdcerts.Env{
				Name: "slipway-host " + name, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Random: rand.Reader,
			})
		}},
		"etcd-ready": {Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return etcdready.Main(ctx, args, etcdready.Host("slipway-host "+name)) })
		}},
		"health": {Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return health.Main(ctx, args, health.Host("slipway-host "+name)) })
		}},
		"status": {Run: func(name string, args []string) int {
			return untilSignal(func(ctx context.Context) int { return health.ShowStatus(ctx, args, health.Host("slipway-host "+name)) })
		}},
	}
}

// untilSignal runs a program whose context ends when it is asked to stop.
func untilSignal(run func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx)
}

// Names lists the programs in byte order.
func Names() []string { return slices.Sorted(maps.Keys(Programs())) }

// Links lists the programs that an image has links for, in byte order.
func Links() []string {
	return slices.DeleteFunc(Names(), func(name string) bool { return !Programs()[name].Linked })
}
