package updateengine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"time"

	"github.com/godbus/dbus/v5"

	"slipway/cmd/internal/download"
	"slipway/cmd/internal/slots"
	"slipway/cmd/internal/updatebus"
)

// Host is the Env of a running machine.
func Host() *Env {
	return &Env{
		Log: os.Stderr, Machine: slots.Host(), Now: time.Now, Random: rand.Float64, Client: download.NewClient(),
		Sleep: func(ctx context.Context, d time.Duration) {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		},
	}
}

// Main is the program update_engine: a service of systemd, which offers itself
// on the system bus. It returns the exit code.
func Main(ctx context.Context, args []string, e *Env) int {
	flags := flag.NewFlagSet("update_engine", flag.ContinueOnError)
	flags.SetOutput(e.Log)
	flags.Usage = func() {
		fmt.Fprintln(e.Log, "usage: update_engine\nLooks for updates and installs them; a service of systemd runs it.")
	}
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if err == nil {
			flags.Usage()
		}
		return 2
	}
	g, err := New(e)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(e.Log, "not started from a slot: there is nothing to update")
		return 0
	}
	if err == nil {
		err = g.offer(ctx)
	}
	if err == nil {
		// It idles for most of its life: what the start took is given back.
		debug.FreeOSMemory()
		err = g.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(e.Log, err)
		return 1
	}
	return 0
}

// offer puts the engine on the system bus for as long as the context lives.
func (g *Engine) offer(ctx context.Context) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("system bus: %w", err)
	}
	bus, err := updatebus.Serve(conn, g)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	g.Changed = func(s updatebus.Status) {
		if err := bus.Tell(s); err != nil {
			g.say("system bus: %v", err)
		}
	}
	return nil
}
