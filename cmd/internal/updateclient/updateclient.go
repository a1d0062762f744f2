// Package updateclient is the program update_engine_client, with the flags and
// the output that CoreOS's had.
//
// It asks the update engine over D-Bus and has no logic of its own. What a
// version on trial still waits for "slipway-host status" shows.
package updateclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/godbus/dbus/v5"

	"slipway/cmd/internal/updatebus"
)

// Engine is what the program asks; *updatebus.Client is one.
type Engine interface {
	AttemptUpdate(context.Context) error
	ResetStatus(context.Context) error
	Status(context.Context) (updatebus.Status, error)
	Listen(context.Context) (<-chan updatebus.Status, error)
}

// Env is what the program sees of the world.
type Env struct {
	Name           string
	Stdout, Stderr io.Writer
	// Connect gives the engine, and a function that ends the connection.
	Connect func(context.Context) (Engine, func() error, error)
}

const usage = `usage: %s -ACTION
  -check_for_update   have the engine look for an update now
  -reset_status       forget an update that waits for a reboot
  -status             show what the engine is at
  -update             update, and wait until the update is ready or there is none
  -watch_for_updates  show every change of the status
`

// Main runs the program and returns the exit code.
func Main(ctx context.Context, args []string, e Env) int {
	action, ok := parse(args)
	if !ok {
		fmt.Fprintf(e.Stderr, usage, e.Name)
		return 2
	}
	engine, closeBus, err := e.Connect(ctx)
	if err == nil {
		err = e.act(ctx, engine, action)
		err = errors.Join(err, closeBus())
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
		if errors.Is(err, updatebus.ErrNoEngine) {
			fmt.Fprintln(e.Stderr, "hint: systemctl status update-engine.service")
		}
		return 1
	}
	return 0
}

// actions by their names on the command line.
func actions() map[string]func(Env, context.Context, Engine) error {
	return map[string]func(Env, context.Context, Engine) error{
		"check_for_update":  Env.check,
		"reset_status":      Env.reset,
		"status":            Env.status,
		"update":            Env.update,
		"watch_for_updates": Env.watch,
	}
}

// parse takes exactly one action, with one dash or two, and "=true" behind it
// as CoreOS's flags allowed.
func parse(args []string) (action string, ok bool) {
	if len(args) != 1 || !strings.HasPrefix(args[0], "-") {
		return "", false
	}
	name := strings.TrimPrefix(strings.TrimPrefix(args[0], "-"), "-")
	name = strings.TrimSuffix(name, "=true")
	_, ok = actions()[name]
	return name, ok
}

func (e Env) act(ctx context.Context, engine Engine, action string) error {
	return actions()[action](e, ctx, engine)
}

func (e Env) check(ctx context.Context, engine Engine) error {
	if err := engine.AttemptUpdate(ctx); err != nil {
		return err
	}
	fmt.Fprintln(e.Stdout, "Initiating update check and install.")
	return nil
}

func (e Env) reset(ctx context.Context, engine Engine) error { return engine.ResetStatus(ctx) }

func (e Env) status(ctx context.Context, engine Engine) error {
	s, err := engine.Status(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(e.Stdout, s.String())
	return err
}

// update waits for the end of what it began.
func (e Env) update(ctx context.Context, engine Engine) error {
	s, err := engine.Status(ctx)
	if err != nil {
		return err
	}
	if s.Operation == updatebus.NeedReboot {
		_, err := fmt.Fprint(e.Stdout, s)
		return err
	}
	told, err := engine.Listen(ctx)
	if err != nil {
		return err
	}
	if err := e.check(ctx, engine); err != nil {
		return err
	}
	busy := false
	for s := range told {
		fmt.Fprint(e.Stdout, s)
		atRest := s.Operation == updatebus.Idle || s.Operation == updatebus.NeedReboot
		if busy && atRest {
			return nil
		}
		busy = busy || !atRest
	}
	return cmp.Or(ctx.Err(), errBusGone)
}

var errBusGone = errors.New("the system bus closed the connection")

func (e Env) watch(ctx context.Context, engine Engine) error {
	told, err := engine.Listen(ctx)
	if err != nil {
		return err
	}
	for s := range told {
		if _, err := fmt.Fprint(e.Stdout, s); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C is how it ends
	}
	return errBusGone
}

// SystemBus connects to the engine of this machine.
func SystemBus(ctx context.Context) (Engine, func() error, error) {
	// Statuses come in the order in which they were told.
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, nil, fmt.Errorf("system bus: %w", err)
	}
	return updatebus.NewClient(conn), conn.Close, nil
}
