package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// DBus is systemd behind its D-Bus interface. It connects when it is needed,
// and again after systemd or the bus were started anew.
type DBus struct {
	// Dial connects: dbus.NewSystemConnectionContext, or the user's systemd.
	Dial func(context.Context) (*dbus.Conn, error)

	ctx     context.Context // of connections
	changes chan string
	mu      sync.Mutex
	conn    *dbus.Conn
}

// NewDBus makes a DBus whose connections last until the context ends.
func NewDBus(ctx context.Context, dial func(context.Context) (*dbus.Conn, error)) *DBus {
	return &DBus{Dial: dial, ctx: ctx, changes: make(chan string, 1)}
}

// connect gives a connection that is alive.
func (d *DBus) connect() (*dbus.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && d.conn.Connected() {
		return d.conn, nil
	}
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
	conn, err := d.Dial(d.ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd: %w", err)
	}
	if err := d.subscribe(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("systemd: %w", err)
	}
	d.conn = conn
	return conn, nil
}

// subscribe forwards the names of units that change. Which they are does not
// matter much, so one that waits to be fetched stands for all.
func (d *DBus) subscribe(conn *dbus.Conn) error {
	updates, errs := make(chan *dbus.PropertiesUpdate, 256), make(chan error, 1)
	conn.SetPropertiesSubscriber(updates, errs)
	go func() {
		tick := time.NewTicker(recheck)
		defer tick.Stop()
		for {
			select {
			case <-d.ctx.Done():
				return
			case <-tick.C:
			case <-errs:
			case u := <-updates:
				select {
				case d.changes <- u.UnitName:
				default:
				}
			}
			if !conn.Connected() {
				return
			}
		}
	}()
	return conn.Subscribe()
}

// Changes implements Systemd.
func (d *DBus) Changes() <-chan string { return d.changes }

// Status implements Systemd.
func (d *DBus) Status(ctx context.Context, names []string) (map[string]Status, error) {
	all := map[string]Status{}
	if len(names) == 0 {
		return all, nil
	}
	conn, err := d.connect()
	if err != nil {
		return nil, err
	}
	list, err := conn.ListUnitsByNamesContext(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("systemd: list units: %w", err)
	}
	for _, u := range list {
		all[u.Name] = Status{u.LoadState, u.ActiveState, u.SubState}
	}
	return all, nil
}

// Link implements Systemd.
func (d *DBus) Link(ctx context.Context, path string, enable bool) error {
	conn, err := d.connect()
	if err != nil {
		return err
	}
	if _, err := conn.LinkUnitFilesContext(ctx, []string{path}, true, true); err != nil {
		return fmt.Errorf("systemd: link: %w", err)
	}
	if enable {
		if _, _, err := conn.EnableUnitFilesContext(ctx, []string{path}, true, true); err != nil {
			return fmt.Errorf("systemd: enable: %w", err)
		}
	}
	return nil
}

// Unlink implements Systemd.
func (d *DBus) Unlink(ctx context.Context, name string) error {
	conn, err := d.connect()
	if err != nil {
		return err
	}
	if _, err := conn.DisableUnitFilesContext(ctx, []string{name}, true); err != nil && !isUnknown(err) {
		return fmt.Errorf("systemd: disable: %w", err)
	}
	if err := conn.ResetFailedUnitContext(ctx, name); err != nil && !isUnknown(err) {
		return fmt.Errorf("systemd: reset: %w", err)
	}
	return nil
}

// Reload implements Systemd.
func (d *DBus) Reload(ctx context.Context) error {
	conn, err := d.connect()
	if err != nil {
		return err
	}
	if err := conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("systemd: reload: %w", err)
	}
	return nil
}

// Start implements Systemd.
func (d *DBus) Start(ctx context.Context, name string) error {
	conn, err := d.connect()
	if err != nil {
		return err
	}
	if _, err := conn.StartUnitContext(ctx, name, "replace", nil); err != nil {
		return fmt.Errorf("systemd: start: %w", err)
	}
	return nil
}

// Stop implements Systemd.
func (d *DBus) Stop(ctx context.Context, name string) error {
	conn, err := d.connect()
	if err != nil {
		return err
	}
	done := make(chan string, 1)
	if _, err := conn.StopUnitContext(ctx, name, "replace", done); err != nil {
		if isUnknown(err) {
			return nil
		}
		return fmt.Errorf("systemd: stop: %w", err)
	}
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("systemd: stop: %w", ctx.Err())
		case result := <-done:
			if result != "done" && result != "skipped" {
				return fmt.Errorf("systemd: stop: the job is %s", result)
			}
			return nil
		case <-tick.C:
			if !conn.Connected() {
				return errors.New("systemd: stop: connection lost")
			}
		}
	}
}

// isUnknown says whether an error is that there is no such unit.
func isUnknown(err error) bool {
	var e godbus.Error
	if !errors.As(err, &e) {
		var p *godbus.Error
		if !errors.As(err, &p) {
			return false
		}
		e = *p
	}
	return e.Name == "org.freedesktop.systemd1.NoSuchUnit" || e.Name == "org.freedesktop.systemd1.UnitNotFound" ||
		e.Name == "org.freedesktop.DBus.Error.FileNotFound"
}
