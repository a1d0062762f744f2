package locksmith_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bustest"
	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/locksmith"
	"slipway/cmd/internal/updatebus"
)

// TestMain lets the test binary be locksmithd, in the root that LOCKSMITH_ROOT
// names.
func TestMain(m *testing.M) {
	root := os.Getenv("LOCKSMITH_ROOT")
	if root == "" {
		os.Exit(m.Run())
	}
	e := locksmith.Host("locksmithd")
	e.Root = root
	os.Exit(locksmith.Daemon(context.Background(), os.Args[1:], e))
}

// daemon is a running locksmithd.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	said []string
	more chan struct{}
}

// startDaemon starts locksmithd on a machine in a directory.
func startDaemon(t *testing.T, root, bus string, environment ...string) *daemon {
	d := &daemon{t: t, more: make(chan struct{}, 1000)}
	self, err := os.Executable()
	require.NoError(t, err)
	d.cmd = exec.Command(self)
	d.cmd.Env = append([]string{"LOCKSMITH_ROOT=" + root, "DBUS_SYSTEM_BUS_ADDRESS=" + bus, "GOMEMLIMIT=24MiB"}, environment...)
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	d.cmd.Stderr = os.Stderr
	require.NoError(t, d.cmd.Start())
	t.Cleanup(d.kill)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); d.more <- struct{}{} {
			d.mu.Lock()
			d.said = append(d.said, lines.Text())
			d.mu.Unlock()
		}
	}()
	return d
}

func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// says waits for a line.
func (d *daemon) says(pattern string) {
	d.t.Helper()
	re := regexp.MustCompile("^" + pattern + "$")
	limit := time.After(30 * time.Second)
	for {
		d.mu.Lock()
		said := strings.Join(d.said, "\n")
		for _, line := range d.said {
			if re.MatchString(line) {
				d.mu.Unlock()
				return
			}
		}
		d.mu.Unlock()
		select {
		case <-d.more:
		case <-limit:
			d.t.Fatalf("locksmithd does not say %q; it said\n%s", pattern, said)
		}
	}
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindStringSubmatch(string(text))
	require.NotNil(t, m)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n << 10
}

// engine is an update engine that waits for a restart.
type engine struct{}

func (engine) AttemptUpdate() error { return nil }
func (engine) ResetStatus() error   { return nil }
func (engine) Status() updatebus.Status {
	return updatebus.Status{Operation: updatebus.NeedReboot, NewVersion: "1.0.1"}
}

// The whole program on a bus and an etcd: the engine is heard, the lock taken,
// logind asked, and after the restart the lock given back.
func TestDaemon(t *testing.T) {
	bus := bustest.Start(t)
	etcd := etcdtest.Start(t, &etcdtest.Options{})
	m := newMachine(t)
	m.file("etc/coreos/update.conf", "REBOOT_STRATEGY=off\n")
	m.file("run/slipway/boot.json", `{"disk":"/dev/vda","slot":"USR-A","partition":3,"version":"1.0.0"}`)
	restarted := make(chan string, 1)
	bustest.Offer(t, bus, "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
		map[string]any{"Reboot": func(bool) *dbus.Error {
			restarted <- etcd.Etcdctl("get", key, "--print-value-only")
			return nil
		}})
	endpoint := "LOCKSMITHD_ENDPOINT=" + etcd.Endpoints()[0]

	d := startDaemon(t, m.Root, bus, endpoint)
	d.says(`reboot strategy is off: this machine does not restart by itself`)
	m.file("etc/coreos/update.conf", "REBOOT_STRATEGY=etcd-lock\nnonsense\n")
	d.says(`update\.conf has changed: starting over with it`)
	d.says(`/etc/coreos/update.conf:2: "nonsense" is not KEY=VALUE`)
	d.says(`reboot strategy etcd-lock, reboot window always`)
	server := bustest.Connect(t, bus)
	_, err := updatebus.Serve(server, engine{})
	require.NoError(t, err)
	d.says(`restart needed into 1\.0\.1`)
	d.says(`took the reboot lock`)
	d.says(`restarting into 1\.0\.1`)
	held := <-restarted
	assert.Contains(t, held, `{"semaphore":0,"max":1,"holders":["`+me+`"]`)
	assert.Contains(t, held, `"state":"restarting"`)
	assert.Contains(t, held, `"host":"one","boot":"boot-1","from":"1.0.0","to":"1.0.1"`)
	used := resident(t, d.cmd.Process.Pid)
	t.Logf("locksmithd has %.1f MiB of memory", float64(used)/(1<<20))
	// The test binary's own pages are among them.
	assert.Less(t, used, 64<<20)
	d.kill()
	require.NoError(t, server.Close())

	m.file("proc/sys/kernel/random/boot_id", "boot-2\n")
	m.file("run/slipway/boot.json", `{"disk":"/dev/vda","slot":"USR-B","partition":4,"version":"1.0.1"}`)
	d = startDaemon(t, m.Root, bus, endpoint)
	d.says(`keeping the reboot lock: the health of this boot is not known yet`)
	assert.Contains(t, etcd.Etcdctl("get", key, "--print-value-only"), me)
	m.file("run/slipway/.new-1", `{"phase":"healthy"}`)
	require.NoError(t, os.Rename(filepath.Join(m.Root, "run/slipway/.new-1"), filepath.Join(m.Root, "run/slipway/health.json")))
	d.says(`gave the reboot lock back: version 1\.0\.1 is healthy`)
	assert.Equal(t, `{"semaphore":1,"max":1,"holders":[]}`, etcd.Etcdctl("get", key, "--print-value-only"))
}

func TestDaemonUsage(t *testing.T) {
	m := newMachine(t)
	m.Name = "locksmithd"
	assert.Equal(t, 2, locksmith.Daemon(t.Context(), []string{"now"}, m.Env))
	assert.Equal(t, "locksmithd: takes no arguments, got \"now\"\n", m.err.String())
	assert.Equal(t, 0, locksmith.Daemon(t.Context(), []string{"-version"}, m.Env))
	assert.Equal(t, "locksmithd version 1.0.0\n", m.out.String())
	m.err.Reset()
	assert.Equal(t, 0, locksmith.Daemon(t.Context(), []string{"-h"}, m.Env))
	assert.Contains(t, m.err.String(), "usage: locksmithd [flags]\nflags, or environment variables LOCKSMITHD_FLAG")
}
