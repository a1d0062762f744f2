package fleetctl_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/fleetctl"
	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
)

const (
	first  = "32a89c4b1a7a4c8b9d7d1f0a2b3c4d5e"
	second = "9b2fc7d5aa004c8b9d7d1f0a2b3c4d5e"
)

// terminal is a person at a machine of a fleet.
type terminal struct {
	t     *testing.T
	store *fleettest.Store
	env   map[string]string
	ran   [][]string // programs
	exit  int        // of programs
	slept time.Duration
	piped []string // the last program that was a connection
}

func newTerminal(t *testing.T) *terminal {
	metadata := map[string]string{"location": "dsi", "plateform": "kvm", "version": "681.0.0"}
	s := fleettest.NewStore(
		&registry.Machine{ID: first, PublicIP: "10.0.0.21", Metadata: metadata},
		&registry.Machine{ID: second, PublicIP: "10.0.0.22", Metadata: metadata})
	x := &terminal{t: t, store: s, env: map[string]string{}}
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	require.NoError(t, err)
	socket := filepath.Join(dir, "fleet.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	uid := 0
	server := &http.Server{Handler: (&api.Server{
		Store: s, TokenLimit: 3, NewUID: func() string { uid++; return fmt.Sprint(uid) }, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}).Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	x.env["FLEETCTL_ENDPOINT"] = "unix://" + socket
	return x
}

// write writes a file into the working directory.
func (x *terminal) write(name, text string) {
	require.NoError(x.t, os.WriteFile(name, []byte(text), 0o644))
}

// run runs a command line and returns everything that is said: what goes to
// stderr is marked, and the exit code is told unless it is 0.
func (x *terminal) run(line string) string {
	x.t.Helper()
	var out bytes.Buffer
	code := fleetctl.Main(x.t.Context(), strings.Fields(line), &fleetctl.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &marked{&out},
		Getenv: func(key string) string { return x.env[key] }, Home: "/home/core", MachineID: first,
		Run: func(_ context.Context, argv []string) (int, error) {
			x.ran = append(x.ran, argv)
			return x.exit, nil
		},
		Pipe: func(_ context.Context, argv []string) (io.ReadWriteCloser, error) {
			x.piped = argv
			return net.Dial("unix", "fleet.sock")
		},
		Sleep: func(_ context.Context, d time.Duration) { x.slept += d },
	})
	if code != 0 {
		fmt.Fprintf(&out, "exit %d\n", code)
	}
	return out.String()
}

type marked struct{ w io.Writer }

func (m *marked) Write(b []byte) (int, error) {
	_, err := m.w.Write(append([]byte("! "), b...))
	return len(b), err
}

// columns makes one blank of each run of them, as the width of a tab differs.
func columns(s string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// The session of an administrator of 2015, as it was printed.
func TestSession(t *testing.T) {
	x := newTerminal(t)
	x.write("cadvisor.service", "[Unit]\nDescription=cAdvisor\n\n[Service]\nExecStart=/usr/bin/docker run google/cadvisor\n\n[X-Fleet]\nGlobal=true\n")
	for _, step := range []struct{ command, want string }{
		{"list-machines", `
MACHINE         IP              METADATA
32a89c4b...     10.0.0.21    location=dsi,plateform=kvm,version=681.0.0
9b2fc7d5...     10.0.0.22    location=dsi,plateform=kvm,version=681.0.0`},
		{"load cadvisor.service", "Triggered global unit cadvisor.service load"},
		{"list-unit-files", `
UNIT                    HASH    DSTATE  STATE   TARGET
cadvisor.service        e0170fa loaded  -       global`},
		{"start cadvisor.service", "Triggered global unit cadvisor.service start"},
		{"list-units", `
UNIT                    MACHINE                         ACTIVE  SUB
cadvisor.service        32a89c4b.../10.0.0.21           active  running
cadvisor.service        9b2fc7d5.../10.0.0.22           active  running`},
		{"stop cadvisor.service", "Triggered global unit cadvisor.service stop"},
		{"list-units", `
UNIT                    MACHINE                         ACTIVE  SUB
cadvisor.service        32a89c4b.../10.0.0.21           inactive  dead
cadvisor.service        9b2fc7d5.../10.0.0.22           inactive  dead`},
		{"unload cadvisor", "Triggered global unit cadvisor.service unload"},
		{"destroy cadvisor.service", "Destroyed cadvisor.service"},
		{"list-unit-files", "UNIT HASH DSTATE STATE TARGET"},
	} {
		assert.Equal(t, columns(strings.TrimPrefix(step.want, "\n")), columns(x.run(step.command)), step.command)
	}
}
