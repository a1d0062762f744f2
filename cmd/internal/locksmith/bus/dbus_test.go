package bus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bustest"
	"slipway/cmd/internal/locksmith/bus"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/updatebus"
)

// lines collects what is said.
type lines struct {
	mu   sync.Mutex
	text string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(b)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// open connects what is tested. The test's own user is believed.
func open(t *testing.T, address string) (*bus.Bus, *lines) {
	b, err := bus.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	said := new(lines)
	b.Stdout, b.UID, b.Root = said, uint32(os.Geteuid()), t.TempDir()
	return b, said
}

// engine is an update engine.
type engine struct {
	mu     sync.Mutex
	status updatebus.Status
}

func (e *engine) AttemptUpdate() error { return nil }
func (e *engine) ResetStatus() error   { return nil }
func (e *engine) Status() updatebus.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}

// serve starts an engine at some status.
func serve(t *testing.T, address string, o updatebus.Operation, version string) (*dbus.Conn, *updatebus.Server) {
	conn := bustest.Connect(t, address)
	s, err := updatebus.Serve(conn, &engine{status: updatebus.Status{Operation: o, NewVersion: version}})
	require.NoError(t, err)
	return conn, s
}

// follow collects statuses.
func follow(t *testing.T, b *bus.Bus) <-chan coordinator.Status {
	heard := make(chan coordinator.Status, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Follow(ctx, func() {}, func(s coordinator.Status) { heard <- s }) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return heard
}

func next(t *testing.T, heard <-chan coordinator.Status) coordinator.Status {
	t.Helper()
	select {
	case s := <-heard:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is heard")
		return coordinator.Status{}
	}
}

// The engine is asked when the coordinator starts and whenever the engine does.
func TestEngineComesAndGoes(t *testing.T) {
	address := bustest.Start(t)
	b, _ := open(t, address)
	conn, server := serve(t, address, updatebus.Idle, "0.0.0")
	heard := follow(t, b)
	assert.Equal(t, coordinator.Status{}, next(t, heard))
	require.NoError(t, server.Tell(updatebus.Status{Operation: updatebus.Downloading, NewVersion: "1.0.1"}))
	assert.Equal(t, coordinator.Status{}, next(t, heard))
	require.NoError(t, server.Tell(updatebus.Status{Operation: updatebus.NeedReboot, NewVersion: "1.0.1"}))
	assert.Equal(t, coordinator.Status{NeedReboot: true, Version: "1.0.1"}, next(t, heard))

	require.NoError(t, conn.Close())
	_, server = serve(t, address, updatebus.NeedReboot, "1.0.2")
	assert.Equal(t, coordinator.Status{NeedReboot: true, Version: "1.0.2"}, next(t, heard), "asked at once")
	require.NoError(t, server.Tell(updatebus.Status{Operation: updatebus.Idle}))
	assert.Equal(t, coordinator.Status{}, next(t, heard))
}

func TestEngineStartsLater(t *testing.T) {
	address := bustest.Start(t)
	b, _ := open(t, address)
	heard := follow(t, b)
	serve(t, address, updatebus.NeedReboot, "0.0.0")
	assert.Equal(t, coordinator.Status{NeedReboot: true}, next(t, heard))
}

// Whoever is on the bus may send signals. Only the engine's own count, and what
// root says as locksmithctl send-need-reboot does.
func TestWhoSaysSo(t *testing.T) {
	address := bustest.Start(t)
	b, said := open(t, address)
	serve(t, address, updatebus.Idle, "0.0.0")
	heard := follow(t, b)
	next(t, heard)
	sender, _ := open(t, address)
	require.NoError(t, sender.SendNeedReboot(t.Context(), time.Second))
	assert.Equal(t, coordinator.Status{NeedReboot: true, Forced: true}, next(t, heard))

	b.UID++ // somebody else from now on
	require.NoError(t, sender.SendNeedReboot(t.Context(), time.Second))
	stranger := bustest.Connect(t, address)
	require.NoError(t, stranger.Emit(updatebus.Path, updatebus.Interface+".StatusUpdate", "not a status"))
	_, server := serveSecond(t, address)
	require.Error(t, server)
	assert.Empty(t, heard)
	assert.Contains(t, said.String(), "who is not it: passed over")
}

// serveSecond tries to be the engine where there is one.
func serveSecond(t *testing.T, address string) (*updatebus.Server, error) {
	return updatebus.Serve(bustest.Connect(t, address), &engine{})
}

func TestBusGoesAway(t *testing.T) {
	address := bustest.Start(t)
	b, _ := open(t, address)
	done := make(chan error, 1)
	go func() { done <- b.Follow(t.Context(), func() {}, func(coordinator.Status) {}) }()
	require.NoError(t, b.Close())
	assert.Error(t, <-done)
	_, err := bus.Connect(t.Context(), "unix:path=/nowhere")
	assert.EqualError(t, err, "system bus: dial unix /nowhere: connect: no such file or directory")
}

// logind restarts the machine.
type logind struct {
	mu     sync.Mutex
	calls  []string
	refuse bool
}

func (l *logind) call(name string) *dbus.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, name)
	if l.refuse {
		return dbus.MakeFailedError(errors.New("operation inhibited by a backup"))
	}
	return nil
}

func (l *logind) table() map[string]any {
	return map[string]any{
		"Reboot":          func(bool) *dbus.Error { return l.call("reboot") },
		"RebootWithFlags": func(flags uint64) *dbus.Error { return l.call(map[uint64]string{2: "kexec"}[flags]) },
	}
}

// manager is systemd: it starts units, with a result, and says so.
type manager struct {
	conn    *dbus.Conn
	result  string
	started []string
	state   string // of etcd
}

const systemdPath = "/org/freedesktop/systemd1"

func (m *manager) table() map[string]any {
	return map[string]any{
		"Subscribe": func() *dbus.Error { return nil },
		"StartUnit": func(name, mode string) (dbus.ObjectPath, *dbus.Error) {
			m.started = append(m.started, name+" "+mode)
			removed := func(job, result string) {
				_ = m.conn.Emit(systemdPath, "org.freedesktop.systemd1.Manager.JobRemoved",
					uint32(7), dbus.ObjectPath(job), name, result)
			}
			removed("/job/6", "failed") // another's
			go removed("/job/7", m.result)
			return "/job/7", nil
		},
		"GetUnit": func(name string) (dbus.ObjectPath, *dbus.Error) {
			if m.state == "" {
				return "", dbus.MakeFailedError(errors.New("no unit " + name))
			}
			return "/unit/etcd", nil
		},
	}
}

func serveSystemd(t *testing.T, address string, m *manager) {
	m.conn = bustest.Offer(t, address, "org.freedesktop.systemd1", systemdPath,
		"org.freedesktop.systemd1.Manager", m.table())
	require.NoError(t, m.conn.ExportMethodTable(map[string]any{
		"Get": func(_, property string) (dbus.Variant, *dbus.Error) { return dbus.MakeVariant(m.state), nil },
	}, "/unit/etcd", "org.freedesktop.DBus.Properties"))
}

func serveLogind(t *testing.T, address string, l *logind) *dbus.Conn {
	return bustest.Offer(t, address, "org.freedesktop.login1", "/org/freedesktop/login1",
		"org.freedesktop.login1.Manager", l.table())
}

func TestRestart(t *testing.T) {
	address := bustest.Start(t)
	b, said := open(t, address)
	unloaded := 0
	b.Unload = func() error { unloaded++; return nil }
	l, m := new(logind), &manager{result: "done"}
	serveLogind(t, address, l)
	serveSystemd(t, address, m)

	require.NoError(t, b.Restart(t.Context(), "firmware"))
	assert.Equal(t, []string{"reboot"}, l.calls)
	assert.Empty(t, m.started)

	require.NoError(t, b.Restart(t.Context(), "kexec"))
	assert.Equal(t, []string{"reboot", "kexec"}, l.calls)
	assert.Equal(t, []string{"slipway-kexec.service replace"}, m.started)
	assert.Empty(t, said.String())

	m.result = "failed" // logind finds no kernel loaded and restarts by the firmware
	require.NoError(t, b.Restart(t.Context(), "kexec"))
	assert.Equal(t, []string{"reboot", "kexec", "kexec"}, l.calls)
	assert.Equal(t, "restarting by way of the firmware: slipway-kexec.service: failed\n", said.String())
	assert.Zero(t, unloaded)

	l.refuse = true
	const refused = "org.freedesktop.login1.Manager.RebootWithFlags: operation inhibited by a backup"
	assert.EqualError(t, b.Restart(t.Context(), "kexec"), refused)
	assert.Equal(t, 1, unloaded, "the kernel must not be started by another restart")

	// Who is stopped before the request makes none.
	l.refuse, l.calls = false, nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, b.Restart(ctx, "firmware"), context.Canceled)
	assert.ErrorIs(t, b.Restart(ctx, "kexec"), context.Canceled)
	assert.Empty(t, l.calls)
	assert.Equal(t, 2, unloaded)
}

// Who is stopped by the restart that it asked for must not take that for a no:
// it would give the lock back while the machine goes down.
func TestStoppedByTheRestart(t *testing.T) {
	address := bustest.Start(t)
	b, said := open(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	bustest.Offer(t, address, "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
		map[string]any{"Reboot": func(bool) *dbus.Error {
			cancel()
			_ = b.Close() // the bus goes, too
			return nil
		}})
	assert.NoError(t, b.Restart(ctx, "firmware"))
	assert.Equal(t, "logind has been asked to restart and does not answer\n", said.String())
}

func TestEtcdRuns(t *testing.T) {
	address := bustest.Start(t)
	b, _ := open(t, address)
	assert.False(t, b.EtcdRuns(t.Context()), "no systemd")
	m := new(manager)
	serveSystemd(t, address, m)
	for state, want := range map[string]bool{"": false, "active": true, "activating": true, "inactive": false, "failed": false} {
		m.state = state
		assert.Equal(t, want, b.EtcdRuns(t.Context()), state)
	}
}

// Terminals of logind's sessions of people, and of utmp, whose owners live.
func TestTell(t *testing.T) {
	address := bustest.Start(t)
	b, _ := open(t, address)
	type session struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	conn := serveLogind(t, address, new(logind))
	properties := map[dbus.ObjectPath]map[string]dbus.Variant{
		"/s/1": {"Class": dbus.MakeVariant("user"), "State": dbus.MakeVariant("active"), "TTY": dbus.MakeVariant("tty1")},
		"/s/2": {"Class": dbus.MakeVariant("manager"), "State": dbus.MakeVariant("active"), "TTY": dbus.MakeVariant("tty2")},
		"/s/3": {"Class": dbus.MakeVariant("user"), "State": dbus.MakeVariant("closing"), "TTY": dbus.MakeVariant("tty3")},
		"/s/4": {"Class": dbus.MakeVariant("user"), "State": dbus.MakeVariant("online"), "TTY": dbus.MakeVariant("")},
		"/s/5": {"Class": dbus.MakeVariant("user"), "State": dbus.MakeVariant("online"), "TTY": dbus.MakeVariant("../etc/x")},
	}
	var list []session
	for path, p := range properties {
		list = append(list, session{string(path), 500, "core", "", path})
		require.NoError(t, conn.ExportMethodTable(map[string]any{
			"GetAll": func(string) (map[string]dbus.Variant, *dbus.Error) { return p, nil },
		}, path, "org.freedesktop.DBus.Properties"))
	}
	require.NoError(t, conn.ExportMethodTable(map[string]any{
		"ListSessions": func() ([]session, *dbus.Error) { return list, nil },
	}, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"))

	write := func(name, text string) {
		path := filepath.Join(b.Root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	for _, line := range []string{"tty1", "tty2", "tty3", "pts/0", "pts/1", "x"} {
		write("dev/"+line, "")
	}
	write("proc/100/stat", "")
	write("run/utmp", bus.Utmp(7, 100, "pts/0")+bus.Utmp(7, 101, "pts/1")+bus.Utmp(6, 100, "tty2")+
		bus.Utmp(7, 100, "pts/9")+bus.Utmp(7, 100, "tty1")+"rest")
	assert.Equal(t, 2, b.Tell(t.Context(), "System reboot in 5 minutes!"))
	for line, want := range map[string]bool{"tty1": true, "pts/0": true, "tty2": false, "tty3": false, "pts/1": false, "x": false} {
		text, err := os.ReadFile(filepath.Join(b.Root, "dev", line))
		require.NoError(t, err)
		if !want {
			assert.Empty(t, string(text), line)
			continue
		}
		assert.Regexp(t, `^\r\n\x07Broadcast message from locksmithd at .*:\r\n\r\nSystem reboot in 5 minutes!\r\n\r\n$`, string(text), line)
	}
}
