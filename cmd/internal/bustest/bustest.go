// Package bustest gives tests a D-Bus message bus of their own: a dbus-daemon
// from the tools tree, on a socket in a directory of the test, where everybody
// may do everything. It is skipped by -short and never otherwise, and ends with
// the test.
package bustest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"

	"slipway/build/tools/toolstest"
)

// Start starts a bus and returns its address, as in DBUS_SYSTEM_BUS_ADDRESS.
func Start(t testing.TB) (address string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs dbus-daemon")
	}
	// The path of a socket is short; that of a test's directory may not be.
	dir, err := os.MkdirTemp("", "slipway-bus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address = "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(configText(address)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := toolstest.Tree(t, "judge").Command(t.Context(), "dbus-daemon",
		"--config-file="+config, "--nofork", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says where it listens when it does
		t.Fatal("dbus-daemon: ", err)
	}
	return address
}

func configText(address string) string {
	return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>` + address + `</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
`
}

// Offer connects to a bus and offers methods by name there, of an object and an
// interface, under a name of the bus; "" is none.
func Offer(t testing.TB, address, name string, path dbus.ObjectPath, iface string, methods map[string]any) *dbus.Conn {
	t.Helper()
	conn := Connect(t, address)
	if err := conn.ExportMethodTable(methods, path, iface); err != nil {
		t.Fatal(err)
	}
	if name != "" {
		if _, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// Connect connects to a bus until the test ends.
func Connect(t testing.TB, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
