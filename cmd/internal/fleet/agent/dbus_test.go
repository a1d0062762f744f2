package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/agent"
)

const (
	managerName = "org.freedesktop.systemd1.Manager"
	managerPath = "/org/freedesktop/systemd1"
)

// manager is systemd's side of its private socket, as far as it goes.
type manager struct {
	t       *testing.T
	address string

	mu     sync.Mutex
	conns  map[net.Conn]bool
	calls  []string
	serial uint32
	result string // of jobs
	refuse map[string]string
}

func newManager(t *testing.T) *manager {
	path := filepath.Join(t.TempDir(), "private")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	m := &manager{t: t, address: "unix:path=" + path, conns: map[net.Conn]bool{}, result: "done", refuse: map[string]string{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); m.hangUp() })
	return m
}

// dial connects as go-systemd does to the private socket.
func (m *manager) dial(ctx context.Context) (*dbus.Conn, error) {
	return dbus.NewConnection(func() (*godbus.Conn, error) {
		conn, err := godbus.Dial(m.address, godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		return conn, conn.Auth([]godbus.Auth{godbus.AuthExternal("0")})
	})
}

func (m *manager) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		conn.Close()
	}
}

func (m *manager) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for authenticated := false; !authenticated; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch line = strings.Trim(line, "\x00\r\n"); {
		case line == "AUTH":
			io.WriteString(conn, "REJECTED EXTERNAL\r\n")
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			io.WriteString(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
		case line == "BEGIN":
			authenticated = true
		default:
			io.WriteString(conn, "ERROR\r\n")
		}
	}
	m.mu.Lock()
	m.conns[conn] = true
	m.mu.Unlock()
	for {
		msg, err := godbus.DecodeMessage(r)
		if err != nil {
			return
		}
		m.answer(conn, msg)
	}
}

// answer answers a call; of jobs it tells when they are over.
func (m *manager) answer(conn net.Conn, msg *godbus.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	member := msg.Headers[godbus.FieldMember].Value().(string)
	call := member
	for _, arg := range msg.Body {
		call += fmt.Sprintf(" %v", arg)
	}
	if member != "AddMatch" {
		m.calls = append(m.calls, call)
	}
	headers := map[godbus.HeaderField]godbus.Variant{godbus.FieldReplySerial: godbus.MakeVariant(msg.Serial())}
	if name := m.refuse[member]; name != "" {
		headers[godbus.FieldErrorName] = godbus.MakeVariant(name)
		m.send(conn, godbus.TypeError, headers, "no such thing")
		return
	}
	type change struct{ A, B, C string }
	var body []any
	switch member {
	case "StartUnit", "StopUnit":
		body = []any{godbus.ObjectPath("/job/1")}
	case "LinkUnitFiles", "DisableUnitFiles":
		body = []any{[]change{}}
	case "EnableUnitFiles":
		body = []any{true, []change{}}
	case "ListUnitsByNames":
		body = []any{listUnits(msg.Body[0].([]string))}
	}
	m.send(conn, godbus.TypeMethodReply, headers, body...)
	if member == "StopUnit" {
		m.broadcast(managerPath, managerName, "JobRemoved", uint32(1), godbus.ObjectPath("/job/1"), msg.Body[0], m.result)
	}
}

type listed struct {
	Name, Description, Load, Active, Sub, Followed string
	Path                                           godbus.ObjectPath
	JobID                                          uint32
	JobType                                        string
	JobPath                                        godbus.ObjectPath
}

func listUnits(names []string) (list []listed) {
	for _, name := range names {
		list = append(list, listed{Name: name, Load: "loaded", Active: "active", Sub: "running", Path: "/unit", JobPath: "/"})
	}
	return list
}

func (m *manager) send(conn net.Conn, kind godbus.Type, headers map[godbus.HeaderField]godbus.Variant, body ...any) {
	if len(body) > 0 {
		headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(body...))
	}
	m.serial++
	var b bytes.Buffer
	msg := &godbus.Message{Type: kind, Headers: headers, Body: body}
	require.NoError(m.t, msg.EncodeTo(&b, binary.LittleEndian))
	binary.LittleEndian.PutUint32(b.Bytes()[8:], m.serial) // only a godbus.Conn sets it
	conn.Write(b.Bytes())
}

// broadcast sends a signal to everybody. The lock is held.
func (m *manager) broadcast(path, iface, member string, body ...any) {
	for conn := range m.conns {
		m.send(conn, godbus.TypeSignal, map[godbus.HeaderField]godbus.Variant{
			godbus.FieldPath: godbus.MakeVariant(godbus.ObjectPath(path)), godbus.FieldInterface: godbus.MakeVariant(iface),
			godbus.FieldMember: godbus.MakeVariant(member), godbus.FieldSender: godbus.MakeVariant("org.freedesktop.systemd1"),
		}, body...)
	}
}

// called gives the calls since it was asked before.
func (m *manager) called() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return strings.Join(slices.DeleteFunc(calls, func(c string) bool {
		return c == "Subscribe" || strings.HasPrefix(c, "GetUnit ") // go-systemd's own
	}), "\n")
}

func TestDBus(t *testing.T) {
	m := newManager(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d := agent.NewDBus(ctx, m.dial)

	status, err := d.Status(ctx, []string{"a.service"})
	require.NoError(t, err)
	assert.Equal(t, map[string]agent.Status{"a.service": {Load: "loaded", Active: "active", Sub: "running"}}, status)
	require.NoError(t, d.Link(ctx, "/run/fleet/units/a.service", false))
	require.NoError(t, d.Link(ctx, "/run/fleet/units/b.service", true))
	require.NoError(t, d.Reload(ctx))
	require.NoError(t, d.Start(ctx, "a.service"))
	require.NoError(t, d.Stop(ctx, "a.service"))
	require.NoError(t, d.Unlink(ctx, "a.service"))
	assert.Equal(t, `ListUnitsByNames [a.service]
LinkUnitFiles [/run/fleet/units/a.service] true true
LinkUnitFiles [/run/fleet/units/b.service] true true
EnableUnitFiles [/run/fleet/units/b.service] true true
Reload
StartUnit a.service replace
StopUnit a.service replace
DisableUnitFiles [a.service] true
ResetFailedUnit a.service`, m.called())

	// Changes of units are told.
	m.mu.Lock()
	m.broadcast(managerPath+"/unit/a_2eservice", "org.freedesktop.DBus.Properties", "PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]godbus.Variant{"ActiveState": godbus.MakeVariant("failed")}, []string{})
	m.mu.Unlock()
	select {
	case name := <-d.Changes():
		assert.Equal(t, "a.service", name)
	case <-ctx.Done():
		t.Fatal("no change is told")
	}

	// Units that systemd does not know are stopped and unlinked already.
	m.refuse["StopUnit"] = "org.freedesktop.systemd1.NoSuchUnit"
	m.refuse["ResetFailedUnit"] = "org.freedesktop.systemd1.NoSuchUnit"
	require.NoError(t, d.Stop(ctx, "a.service"))
	require.NoError(t, d.Unlink(ctx, "a.service"))
	m.refuse["StartUnit"] = "org.freedesktop.systemd1.LoadFailed"
	assert.EqualError(t, d.Start(ctx, "a.service"), "systemd: start: no such thing")
	clear(m.refuse)
	m.result = "canceled"
	assert.EqualError(t, d.Stop(ctx, "a.service"), "systemd: stop: the job is canceled")

	// systemd starts anew.
	m.hangUp()
	require.Eventually(t, func() bool { return d.Reload(ctx) == nil }, 20*time.Second, 10*time.Millisecond)
}
