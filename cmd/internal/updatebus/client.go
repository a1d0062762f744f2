package updatebus

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// ErrNoEngine says that no engine is on the bus.
var ErrNoEngine = errors.New("the update engine does not run")

// Client asks the engine.
type Client struct {
	conn   *dbus.Conn
	object dbus.BusObject
}

// NewClient makes a client of a connection to the bus, which stays the
// caller's.
func NewClient(conn *dbus.Conn) *Client { return &Client{conn, conn.Object(Name, Path)} }

// AttemptUpdate has the engine look for an update now. It does not wait for the
// outcome.
func (c *Client) AttemptUpdate(ctx context.Context) error {
	return explain(c.object.CallWithContext(ctx, Interface+".AttemptUpdate", dbus.FlagNoAutoStart).Err)
}

// ResetStatus has the engine forget an update that waits for a reboot.
func (c *Client) ResetStatus(ctx context.Context) error {
	return explain(c.object.CallWithContext(ctx, Interface+".ResetStatus", dbus.FlagNoAutoStart).Err)
}

// Status asks what the engine is at.
func (c *Client) Status(ctx context.Context) (Status, error) {
	call := c.object.CallWithContext(ctx, Interface+".GetStatus", dbus.FlagNoAutoStart)
	if call.Err != nil {
		return Status{}, explain(call.Err)
	}
	return parseStatus(call.Body)
}

// Listen gives each status the engine tells from now on, until the context ends
// or the bus goes away; then the channel is closed. Where the engine itself
// comes or goes, the status it has then is given.
func (c *Client) Listen(ctx context.Context) (<-chan Status, error) {
	rules := [][]dbus.MatchOption{
		{dbus.WithMatchSender(Name), dbus.WithMatchInterface(Interface), dbus.WithMatchMember(signalStatus)},
		{dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, Name)},
	}
	signals := make(chan *dbus.Signal, 64)
	c.conn.Signal(signals)
	for _, rule := range rules {
		if err := c.conn.AddMatchSignalContext(ctx, rule...); err != nil {
			c.conn.RemoveSignal(signals)
			return nil, fmt.Errorf("listen for %s: %w", Interface, err)
		}
	}
	told := make(chan Status)
	go func() {
		defer close(told)
		defer c.conn.RemoveSignal(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case signal, ok := <-signals:
				if !ok {
					return
				}
				s, err := c.told(ctx, signal)
				if err != nil {
					continue // no engine, or a signal of somebody else's
				}
				select {
				case told <- s:
				case <-ctx.Done():
				}
			}
		}
	}()
	return told, nil
}

// told is the status that follows from a signal.
func (c *Client) told(ctx context.Context, signal *dbus.Signal) (Status, error) {
	if signal.Name == Interface+"."+signalStatus {
		return parseStatus(signal.Body)
	}
	return c.Status(ctx)
}

func parseStatus(body []any) (s Status, err error) {
	var operation string
	if err := dbus.Store(body, &s.LastChecked, &s.Progress, &operation, &s.NewVersion, &s.NewSize); err != nil {
		return Status{}, fmt.Errorf("status of the update engine: %w", err)
	}
	s.Operation = Operation(operation)
	return s, nil
}

// explain turns the bus's words for a missing engine into ours.
func explain(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.ServiceUnknown":
		return ErrNoEngine
	}
	return errors.New(e.Error())
}
