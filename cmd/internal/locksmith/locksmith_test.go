package locksmith_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/locksmith"
)

const (
	me    = "69d27b356a94476da859461d3a3bc6fd"
	other = "00000000000000000000000000000002"
	group = "coreos.com/updateengine/rebootlock/groups/lb/semaphore"
	key   = "coreos.com/updateengine/rebootlock/semaphore"
)

// machine is where locksmithctl is called.
type machine struct {
	*locksmith.Env
	t        *testing.T
	out, err bytes.Buffer
	restarts []string
	refuse   error
	sent     int
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t}
	m.Env = &locksmith.Env{
		Name: "locksmithctl", Stdout: &m.out, Stderr: &m.err, Root: t.TempDir(),
		Now:     func() time.Time { return time.Date(2026, 11, 28, 14, 3, 0, 0, time.UTC) },
		Running: func() string { return "1.0.0" }, Next: func() string { return "1.0.1" },
		Connect: func(context.Context, io.Writer) (locksmith.Bus, error) { return m, nil },
	}
	m.file("etc/machine-id", me+"\n")
	m.file("proc/sys/kernel/hostname", "one\n")
	m.file("proc/sys/kernel/random/boot_id", "boot-1\n")
	return m
}

func (m *machine) Restart(_ context.Context, method string) error {
	m.restarts = append(m.restarts, method)
	return m.refuse
}

func (m *machine) SendNeedReboot(context.Context, time.Duration) error {
	m.sent++
	return m.refuse
}

func (m *machine) Close() error { return nil }

func (m *machine) file(name, text string) {
	path := filepath.Join(m.Root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o644))
}

// run calls locksmithctl and returns all it says and its exit code.
func (m *machine) run(args ...string) (out, complaint string, code int) {
	m.out.Reset()
	m.err.Reset()
	code = locksmith.Ctl(m.t.Context(), args, m.Env)
	return m.out.String(), m.err.String(), code
}

// ok calls locksmithctl, which must succeed and not complain.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	out, complaint, code := m.run(args...)
	require.Zero(m.t, code, complaint)
	require.Empty(m.t, complaint)
	return out
}

// fails calls locksmithctl, which must fail, and returns what it complains of.
func (m *machine) fails(code int, args ...string) string {
	m.t.Helper()
	out, complaint, got := m.run(args...)
	assert.Equal(m.t, code, got)
	assert.Empty(m.t, out)
	return complaint
}

func TestUsage(t *testing.T) {
	m := newMachine(t)
	help := m.ok()
	assert.Equal(t, help, m.ok("help"))
	assert.True(t, strings.HasPrefix(help, `NAME:
	locksmithctl - Manage the cluster wide reboot lock.

USAGE: 
	locksmithctl [global options] <command> [command options] [arguments...]

VERSION:
	1.0.0

COMMANDS:
	help			Show a list of commands or help for one command
	lock			Lock this machine or a given machine-id for reboot.
`), help)
	assert.Contains(t, m.ok("help", "set-max"), "locksmithctl set-max NUMBER\n")
	assert.Equal(t, "locksmithctl version 1.0.0\n", m.ok("-version"))
	assert.Equal(t, "locksmithctl: unknown subcommand: \"x\"\nRun 'locksmithctl help' for usage.\n", m.fails(2, "x"))
	assert.Equal(t, "Unrecognized command: x\n", m.fails(1, "help", "x"))
	assert.Equal(t, "locksmithctl unlock: takes 1 arguments, got 2\nRun 'locksmithctl help unlock' for usage.\n",
		m.fails(2, "unlock", "a", "b"))
	assert.Contains(t, m.fails(2, "-nonsense"), "flag provided but not defined: -nonsense\nusage: locksmithctl [flags] COMMAND")
	assert.Equal(t, "New maximum value must be set.\n", m.fails(2, "set-max"))
	for _, text := range []string{"x", "-1", "1e3", "99999999999"} {
		assert.Equal(t, "Invalid maximum value: "+text+"\n", m.fails(2, "set-max", text))
	}
	assert.Equal(t, "status: unknown argument \"x\"\n", m.fails(2, "status", "x"))
}

func TestBadSettings(t *testing.T) {
	m := newMachine(t)
	const before = "Error initializing etcd client: "
	assert.Equal(t, before+"endpoint \"127.0.0.1\": want http://HOST:PORT or https://HOST:PORT\n",
		m.fails(1, "-endpoint", "127.0.0.1", "status"))
	missing := filepath.Join(m.Root, "none.pem")
	assert.Equal(t, before+"etcd CA file: open "+missing+": no such file or directory\n",
		m.fails(1, "-etcd-cafile", missing, "status"))
	m.file("empty.pem", "")
	empty := filepath.Join(m.Root, "empty.pem")
	assert.Equal(t, before+"etcd CA file: "+empty+": no certificate in it\n", m.fails(1, "-etcd-cafile", empty, "status"))
	assert.Equal(t, before+"etcd key file: needs a certificate file too\n", m.fails(1, "-etcd-keyfile", empty, "status"))
	assert.Equal(t, before+"etcd certificate file: needs a key file too\n", m.fails(1, "-etcd-certfile", empty, "status"))
	assert.Contains(t, m.fails(1, "-etcd-certfile", empty, "-etcd-keyfile", empty, "status"),
		before+"etcd certificate "+empty+" with key "+empty+": tls: ")
	m.file("etc/machine-id", "")
	assert.Contains(t, m.fails(1, "lock"), "Cannot read machine-id: machine id: \"\" in /etc/machine-id: want 32 hex")
}

// Nobody listens: that is said at once.
func TestNoEtcd(t *testing.T) {
	m := newMachine(t)
	begin := time.Now()
	assert.Regexp(t, `^Error initializing etcd client: dial tcp 127.0.0.1:1: connect: connection refused
hint: is etcd running\? -endpoint, LOCKSMITHCTL_ENDPOINT, or LOCKSMITHD_ENDPOINT in /etc/coreos/update.conf say where it is
$`, m.fails(1, "-endpoint", "http://127.0.0.1:1", "status"))
	assert.Less(t, time.Since(begin), 5*time.Second)

	// A machine that takes turns does not restart then; one that does not, may.
	m.file("etc/coreos/update.conf", "REBOOT_STRATEGY=etcd-lock\nLOCKSMITHD_ENDPOINT=http://127.0.0.1:1\n")
	assert.Contains(t, m.fails(1, "reboot"), "connection refused")
	m.file("etc/coreos/update.conf", "REBOOT_STRATEGY=off\n")
	m.Environment = []string{"LOCKSMITHCTL_ENDPOINT=http://127.0.0.1:1"}
	assert.Contains(t, m.fails(1, "reboot"), "connection refused")
	assert.Empty(t, m.restarts)
}

func TestMustBeRoot(t *testing.T) {
	m := newMachine(t)
	m.UID = 500
	assert.Equal(t, "Must be root to initiate reboot.\nhint: sudo locksmithctl reboot\n", m.fails(1, "reboot"))
	assert.Empty(t, m.restarts)
}

func TestSendNeedReboot(t *testing.T) {
	m := newMachine(t)
	assert.Empty(t, m.ok("send-need-reboot"))
	assert.Equal(t, 1, m.sent)
	m.refuse = errors.New("no bus")
	assert.Equal(t, "error emitting signal: no bus\n", m.fails(1, "send-need-reboot"))
}

// What administrators saw on CoreOS.
func TestSession(t *testing.T) {
	etcd := etcdtest.Start(t, &etcdtest.Options{})
	m := newMachine(t)
	m.Environment = []string{"LOCKSMITHCTL_ENDPOINT=" + etcd.Endpoints()[0]}
	assert.Equal(t, "Available: 1\nMax: 1\n", m.ok("status"))
	assert.Empty(t, m.ok("lock"))
	assert.Equal(t, `Available: 0
Max: 1

MACHINE ID
69d27b356a94476da859461d3a3bc6fd

HOLDER                            HOST  SINCE                         REACHABLE  STATE
69d27b356a94476da859461d3a3bc6fd  one   2026-11-28 14:03:00 UTC (0s)  no         manual
`, m.ok("status"))
	assert.Empty(t, m.ok("lock"), "its own lock again")
	assert.Equal(t, "Error locking: semaphore is at 0\nhint: \"locksmithctl status\" shows who has the lock\n",
		m.fails(1, "lock", other))
	assert.Equal(t, "Old: 1\nNew: 4\n", m.ok("set-max", "4"))
	assert.Empty(t, m.ok("lock", other))
	assert.Contains(t, m.ok("status"), "Available: 2\nMax: 4\n\nMACHINE ID\n"+other+"\n"+me+"\n\n")
	assert.Equal(t, "Old: 4\nNew: 1\n", m.ok("set-max", "1"))
	assert.Contains(t, m.ok("status"), "Available: -1\nMax: 1\n")
	assert.Empty(t, m.ok("unlock", other))
	assert.Empty(t, m.ok("unlock"))
	assert.Equal(t, "Error unlocking: holder does not exist\nhint: \"locksmithctl status\" shows who has the lock\n",
		m.fails(1, "unlock"))
	assert.Equal(t, `{"semaphore":1,"max":1,"holders":[]}`, etcd.Etcdctl("get", key, "--print-value-only"))

	// Groups are apart, and a flag wins over the environment.
	m.Environment = append(m.Environment, "LOCKSMITHCTL_GROUP=web")
	m.ok("-group", "lb", "lock")
	assert.Contains(t, etcd.Etcdctl("get", group, "--print-value-only"), me)
	assert.Equal(t, "Available: 1\nMax: 1\n", m.ok("status"))
	m.ok("-group=lb", "unlock")

	// What no flag says is taken from update.conf.
	m.Environment = nil
	m.file("etc/coreos/update.conf", "LOCKSMITHD_GROUP=lb\nLOCKSMITHD_ENDPOINT="+etcd.Endpoints()[0]+"\n")
	m.ok("lock")
	assert.Contains(t, etcd.Etcdctl("get", group, "--print-value-only"), me)
	m.ok("-endpoint", "http://127.0.0.1:1,"+etcd.Endpoints()[0], "unlock")
}

func TestStatusOfAll(t *testing.T) {
	etcd := etcdtest.Start(t, &etcdtest.Options{})
	m := newMachine(t)
	m.Environment = []string{"LOCKSMITHCTL_ENDPOINT=" + etcd.Endpoints()[0]}
	etcd.Etcdctl("put", key, `{"semaphore":0,"max":4,"holders":["a","b","c","d"],"details":{
		"a": {"state":"restarting","since":"2026-11-28T14:00:00Z","host":"one","boot":"1","from":"1.0.0","to":"1.0.1"},
		"b": {"state":"restarting","since":"2026-11-27T14:00:00Z","host":"two","boot":"1","to":"1.0.1"},
		"c": {"state":"failed","since":"2026-11-28T14:02:30Z","host":"three","to":"1.0.1","reason":"runs 1.0.0 again"}}}`)
	etcd.Etcdctl("put", "coreos.com/updateengine/rebootlock/machines/a",
		`{"host":"one","boot":"2","version":"1.0.1","health":"settling: everything is up"}`)
	etcd.Etcdctl("put", "coreos.com/updateengine/rebootlock/machines/c", `{"host":"three","boot":"2"}`)
	assert.Equal(t, `Available: 0
Max: 4

MACHINE ID
a
b
c
d

HOLDER  HOST   SINCE                              REACHABLE  STATE
a       one    2026-11-28 14:00:00 UTC (3m0s)     yes        restarting into 1.0.1, back: settling: everything is up
b       two    2026-11-27 14:00:00 UTC (24h3m0s)  no         restarting into 1.0.1, not back yet
c       three  2026-11-28 14:02:30 UTC (30s)      yes        failed: runs 1.0.0 again
d       -      -                                  no         restarting, not back yet
`, m.ok("status"))
	var document struct {
		Available, Max int
		Holders        []struct {
			ID, State, Reason, Version string
			Reachable                  bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(m.ok("status", "--json")), &document))
	assert.Equal(t, "runs 1.0.0 again", document.Holders[2].Reason)
	assert.True(t, document.Holders[2].Reachable)
	assert.Equal(t, "1.0.1", document.Holders[0].Version)

	assert.Equal(t, "Error locking: halted by c: runs 1.0.0 again\nhint: \"locksmithctl unlock c\" lets the others go on\n",
		m.fails(1, "reboot"))
	etcd.Etcdctl("put", key, "nonsense")
	assert.Contains(t, m.fails(1, "status"), "Error getting value: etcd key "+key+": lock: malformed: ")
}

func TestReboot(t *testing.T) {
	etcd := etcdtest.Start(t, &etcdtest.Options{})
	m := newMachine(t)
	m.file("etc/coreos/update.conf", "REBOOT_METHOD=kexec\nLOCKSMITHD_ENDPOINT="+etcd.Endpoints()[0]+"\n")
	m.refuse = errors.New("operation inhibited")
	assert.Equal(t, "Error rebooting: operation inhibited\n", m.fails(1, "reboot"))
	assert.Equal(t, "Available: 1\nMax: 1\n", m.ok("status"), "the lock is given back")
	m.refuse = nil
	m.ok("reboot")
	assert.Equal(t, []string{"kexec", "kexec"}, m.restarts)
	assert.Contains(t, m.ok("status"), "restarting into 1.0.1, not back yet")
	assert.Contains(t, etcd.Etcdctl("get", key, "--print-value-only"),
		`"`+me+`":{"state":"restarting","since":"2026-11-28T14:03:00Z","host":"one","boot":"boot-1","from":"1.0.0","to":"1.0.1"}`)
	_, err := os.Stat(filepath.Join(m.Root, "var/lib/slipway/reboot-lock"))
	assert.NoError(t, err, "locksmithd will give it back")

	second := newMachine(t)
	second.file("etc/machine-id", other+"\n")
	second.file("etc/coreos/update.conf", "LOCKSMITHD_ENDPOINT="+etcd.Endpoints()[0]+"\n")
	assert.Equal(t, "Error locking: semaphore is at 0\nhint: \"locksmithctl status\" shows who has the lock\n",
		second.fails(1, "reboot"))
	assert.Empty(t, second.restarts)
}
