package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/updatebus"
)

const (
	statusUpdate = updatebus.Interface + ".StatusUpdate"
	ownerChanged = busName + ".NameOwnerChanged"
	// askAgain is after how long an engine is asked again that did not answer.
	askAgain = 5 * time.Second
)

// listener hears the update engine.
type listener struct {
	*Bus
	owner string // the engine's own name on the bus, "" while it is away
	said  func(coordinator.Status)
	again <-chan time.Time // when to ask again, nil: need not be
}

// Follow calls said with the update engine's status now and whenever it changes,
// and once listening, when no change is missed from then on.
// The engine may come and go: what it said last holds. It returns when ctx ends
// or the bus goes away.
//
// Everybody may send signals on the system bus. Those that count are the
// engine's own and, as what a person wants, those of UID.
func (b *Bus) Follow(ctx context.Context, listening func(), said func(coordinator.Status)) error {
	signals := make(chan *dbus.Signal, 64)
	b.conn.Signal(signals)
	defer b.conn.RemoveSignal(signals)
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface(updatebus.Interface), dbus.WithMatchMember("StatusUpdate"),
			dbus.WithMatchObjectPath(updatebus.Path)},
		{dbus.WithMatchSender(busName), dbus.WithMatchMember("NameOwnerChanged"),
			dbus.WithMatchArg(0, updatebus.Name)},
	} {
		if err := b.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return fmt.Errorf("system bus: %w", err)
		}
	}
	listening()
	l := &listener{Bus: b, said: said}
	// Not there is an error too, and no news.
	_ = b.call(ctx, busName, "/org/freedesktop/DBus", busName+".GetNameOwner", []any{updatebus.Name}, &l.owner)
	l.ask(ctx)
	for {
		select {
		case s, open := <-signals:
			if !open {
				return errors.New("system bus: gone")
			}
			l.hear(ctx, s)
		case <-l.again:
			l.ask(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask asks the engine for its status, if it is there.
func (l *listener) ask(ctx context.Context) {
	l.again = nil
	if l.owner == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	s, err := updatebus.NewClient(l.conn).Status(ctx)
	if err != nil {
		l.again = time.After(askAgain)
		return
	}
	l.said(status(s.Operation, s.NewVersion))
}

// hear takes a signal.
func (l *listener) hear(ctx context.Context, s *dbus.Signal) {
	switch s.Name {
	case ownerChanged:
		var name, before string
		if dbus.Store(s.Body, &name, &before, &l.owner) == nil {
			l.ask(ctx)
		}
	case statusUpdate:
		var checked, size int64
		var progress float64
		var operation, version string
		if dbus.Store(s.Body, &checked, &progress, &operation, &version, &size) != nil {
			return
		}
		now := status(updatebus.Operation(operation), version)
		if s.Sender != l.owner {
			if !l.believes(ctx, s.Sender) {
				l.say("a status of the update engine from %s on the bus, who is not it: passed over", s.Sender)
				return
			}
			if now.Forced = true; !now.NeedReboot {
				return // only the engine can say so
			}
		}
		l.said(now)
	}
}

// believes asks the bus who a sender is.
func (l *listener) believes(ctx context.Context, sender string) bool {
	var uid uint32
	err := l.call(ctx, busName, "/org/freedesktop/DBus", busName+".GetConnectionUnixUser", []any{sender}, &uid)
	return err == nil && uid == l.UID
}

// status is what an operation of the engine means for a restart.
func status(o updatebus.Operation, version string) coordinator.Status {
	if o != updatebus.NeedReboot {
		return coordinator.Status{}
	}
	if version == "0.0.0" {
		version = ""
	}
	return coordinator.Status{NeedReboot: true, Version: version}
}

// SendNeedReboot says in the engine's place that a restart is needed, to try a
// coordinator. It returns a moment later: the bus can be asked who said it only
// as long as that program is there.
func (b *Bus) SendNeedReboot(ctx context.Context, moment time.Duration) error {
	err := b.conn.Emit(updatebus.Path, statusUpdate,
		int64(0), float64(0), string(updatebus.NeedReboot), "", int64(0))
	if err != nil {
		return fmt.Errorf("system bus: %w", err)
	}
	t := time.NewTimer(moment)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}
