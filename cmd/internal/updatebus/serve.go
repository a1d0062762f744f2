package updatebus

import (
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// Engine is what the interface is offered for.
type Engine interface {
	// AttemptUpdate has the engine look for an update now.
	AttemptUpdate() error
	// ResetStatus forgets an update that waits for a reboot.
	ResetStatus() error
	// Status is what the engine is at.
	Status() Status
}

// Server offers an engine on a bus.
type Server struct{ conn *dbus.Conn }

// Serve offers the engine. Close the connection to end it.
func Serve(conn *dbus.Conn, e Engine) (*Server, error) {
	if err := conn.ExportMethodTable(methods(e), Path, Interface); err != nil {
		return nil, fmt.Errorf("export %s: %w", Interface, err)
	}
	node := introspect.NewIntrospectable(description())
	if err := conn.Export(node, Path, "org.freedesktop.DBus.Introspectable"); err != nil {
		return nil, fmt.Errorf("export %s: %w", Interface, err)
	}
	reply, err := conn.RequestName(Name, dbus.NameFlagDoNotQueue)
	if err != nil {
		return nil, fmt.Errorf("name %s: %w", Name, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return nil, fmt.Errorf("name %s: taken by another program", Name)
	}
	return &Server{conn}, nil
}

// Tell sends the status to everybody who listens.
func (s *Server) Tell(now Status) error {
	err := s.conn.Emit(Path, Interface+"."+signalStatus,
		now.LastChecked, now.Progress, string(now.Operation), now.NewVersion, now.NewSize)
	if errors.Is(err, dbus.ErrClosed) {
		return nil // the bus has gone, and the engine goes on
	}
	return err
}

// methods are the methods of the interface by name.
func methods(e Engine) map[string]any {
	return map[string]any{
		"AttemptUpdate": func() *dbus.Error { return failed(e.AttemptUpdate()) },
		"ResetStatus":   func() *dbus.Error { return failed(e.ResetStatus()) },
		"GetStatus": func() (int64, float64, string, string, int64, *dbus.Error) {
			s := e.Status()
			return s.LastChecked, s.Progress, string(s.Operation), s.NewVersion, s.NewSize, nil
		},
	}
}

func failed(err error) *dbus.Error {
	if err == nil {
		return nil
	}
	return dbus.MakeFailedError(err)
}

// description is the interface, as update_engine.xml described it.
func description() *introspect.Node {
	status := func(direction string) []introspect.Arg {
		return []introspect.Arg{
			{Name: "last_checked_time", Type: "x", Direction: direction},
			{Name: "progress", Type: "d", Direction: direction},
			{Name: "current_operation", Type: "s", Direction: direction},
			{Name: "new_version", Type: "s", Direction: direction},
			{Name: "new_size", Type: "x", Direction: direction},
		}
	}
	return &introspect.Node{
		Name: Path,
		Interfaces: []introspect.Interface{introspect.IntrospectData, {
			Name: Interface,
			Methods: []introspect.Method{
				{Name: "AttemptUpdate"},
				{Name: "ResetStatus"},
				{Name: "GetStatus", Args: status("out")},
			},
			Signals: []introspect.Signal{{Name: signalStatus, Args: status("")}},
		}},
	}
}
