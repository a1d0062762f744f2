// Package bus is how package coordinator meets the machine: over the system bus
// it hears the update engine, has logind restart the machine and systemd start
// units, and to people who are logged in it writes on their terminals.
//
// It decides nothing. The names and what they mean are those of
// org.freedesktop.login1(5) and org.freedesktop.systemd1(5); the update engine's
// are in package updatebus.
package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/godbus/dbus/v5"

	"slipway/cmd/internal/updateconf"
)

const (
	// callLimit is how long a program on the bus may take for an answer.
	callLimit = 30 * time.Second
	// unitLimit is how long a unit may take to do its work.
	unitLimit = 20 * time.Minute

	// rebootViaKexec is SD_LOGIND_REBOOT_VIA_KEXEC: start the kernel that is
	// loaded, or go through the firmware if none is.
	rebootViaKexec = uint64(1) << 1

	// kexecUnit loads the kernel that a restart would start.
	kexecUnit = "slipway-kexec.service"
	etcdUnit  = "etcd.service"

	login   = "org.freedesktop.login1"
	systemd = "org.freedesktop.systemd1"
	busName = "org.freedesktop.DBus"
)

// Bus is a connection to the system bus.
type Bus struct {
	// Stdout takes what is said.
	Stdout io.Writer
	// UID is whose signals are believed besides the update engine's.
	UID uint32
	// Root is put before all paths.
	Root string
	// Unload makes the kernel forget one that was loaded to be started.
	Unload func() error

	conn *dbus.Conn
}

// Connect connects to a bus, the system's if address is "".
func Connect(ctx context.Context, address string) (*Bus, error) {
	options := []dbus.ConnOption{
		dbus.WithContext(ctx),
		dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()), // in the order they were sent
	}
	var conn *dbus.Conn
	var err error
	if address == "" {
		conn, err = dbus.ConnectSystemBus(options...)
	} else {
		conn, err = dbus.Connect(address, options...)
	}
	if err != nil {
		return nil, fmt.Errorf("system bus: %w", err)
	}
	return &Bus{conn: conn, Root: "/", Unload: func() error { return nil }}, nil
}

// Close ends the connection.
func (b *Bus) Close() error { return b.conn.Close() }

func (b *Bus) say(format string, args ...any) { fmt.Fprintf(b.Stdout, format+"\n", args...) }

// call calls a method and stores what it answers.
func (b *Bus) call(
	ctx context.Context, name string, path dbus.ObjectPath, method string, args []any, answer ...any,
) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	call := b.conn.Object(name, path).CallWithContext(ctx, method, 0, args...)
	err := call.Err
	if err == nil {
		err = call.Store(answer...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// Restart has logind restart the machine in order, and returns before that. ctx
// ends what is done first, and not the request itself: whoever asked for the
// restart is stopped by it.
func (b *Bus) Restart(ctx context.Context, method string) error {
	if method != updateconf.MethodKexec {
		return b.restart(ctx, "Reboot", false)
	}
	// Whatever stops the kexec is no reason not to restart.
	err := b.runUnit(ctx, kexecUnit)
	if err != nil && ctx.Err() == nil {
		b.say("restarting by way of the firmware: %v", err)
	}
	if err = b.restart(ctx, "RebootWithFlags", rebootViaKexec); err != nil {
		// An ordinary restart, later, must not start this kernel.
		err = errors.Join(err, b.Unload())
	}
	return err
}

// restart asks logind. No answer is none that says no: the bus goes down with
// the machine.
func (b *Bus) restart(ctx context.Context, method string, arg any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err := b.call(ctx, login, "/org/freedesktop/login1", login+".Manager."+method, []any{arg})
	answer, isAnswer := errors.AsType[dbus.Error](err)
	if err != nil && (!isAnswer || answer.Name == busName+".Error.NoReply") {
		b.say("logind has been asked to restart and does not answer")
		return nil
	}
	return err
}

// EtcdRuns says whether systemd runs etcd on this machine.
func (b *Bus) EtcdRuns(ctx context.Context) bool {
	var unit dbus.ObjectPath
	err := b.call(ctx, systemd, "/org/freedesktop/systemd1", systemd+".Manager.GetUnit", []any{etcdUnit}, &unit)
	if err != nil {
		return false // it is not even loaded
	}
	var state dbus.Variant
	err = b.call(ctx, systemd, unit, "org.freedesktop.DBus.Properties.Get",
		[]any{systemd + ".Unit", "ActiveState"}, &state)
	switch text, _ := state.Value().(string); text {
	case "active", "activating", "reloading":
		return err == nil
	}
	return false
}

// runUnit starts a unit and waits for what becomes of that.
func (b *Bus) runUnit(ctx context.Context, name string) error {
	const object, manager = "/org/freedesktop/systemd1", systemd + ".Manager"
	ctx, cancel := context.WithTimeout(ctx, unitLimit)
	defer cancel()
	signals := make(chan *dbus.Signal, 16)
	b.conn.Signal(signals)
	defer b.conn.RemoveSignal(signals)
	match := []dbus.MatchOption{dbus.WithMatchInterface(manager), dbus.WithMatchMember("JobRemoved")}
	if err := b.conn.AddMatchSignalContext(ctx, match...); err != nil {
		return err
	}
	defer b.conn.RemoveMatchSignal(match...)
	if err := b.call(ctx, systemd, object, manager+".Subscribe", nil); err != nil {
		return err
	}
	var job dbus.ObjectPath
	if err := b.call(ctx, systemd, object, manager+".StartUnit", []any{name, "replace"}, &job); err != nil {
		return err
	}
	for {
		select {
		case s, open := <-signals:
			if !open {
				return dbus.ErrClosed
			}
			var id uint32
			var removed dbus.ObjectPath
			var unit, result string
			if s.Name != manager+".JobRemoved" ||
				dbus.Store(s.Body, &id, &removed, &unit, &result) != nil || removed != job {
				continue
			}
			if result != "done" {
				return fmt.Errorf("%s: %s", name, result)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", name, ctx.Err())
		}
	}
}
