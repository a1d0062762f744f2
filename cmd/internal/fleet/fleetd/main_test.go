package fleetd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/fleet/agent"
	"slipway/cmd/internal/fleet/fleetctl"
	"slipway/cmd/internal/fleet/fleetd"
	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
)

// host is a machine on which the programs themselves run.
type host struct {
	t       *testing.T
	dir     string
	id      string
	systemd *fleettest.Systemd
	log     *os.File
	stop    func() int
}

func newHost(t *testing.T, number int, config string) *host {
	h := &host{t: t, dir: t.TempDir(), id: fmt.Sprintf("%032x", number), systemd: fleettest.NewSystemd()}
	h.write("machine-id", h.id+"\n")
	h.write("boot_id", "0f57950f-4e3f-8744-0f57-950f4e3f8744\n")
	h.write("fleet.conf", fmt.Sprintf("api_socket=%s\nunits_directory=%s\npublic_ip=10.0.0.%d\nagent_ttl=15s\n%s\n",
		h.path("fleet.sock"), h.path("units"), number, config))
	var err error
	h.log, err = os.Create(h.path("log"))
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(h.path("log"))
			t.Logf("fleetd of machine %d:\n%s", number, text)
		}
		h.log.Close()
	})
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	require.NoError(h.t, os.WriteFile(h.path(name), []byte(text), 0o600))
}

func (h *host) fleetd(ctx context.Context, args ...string) (code int, out string) {
	var b bytes.Buffer
	e := &fleetd.Env{
		Stdout: &b, Stderr: &b, MachineID: h.path("machine-id"), BootID: h.path("boot_id"), Now: time.Now,
		Systemd: func(context.Context) agent.Systemd { return h.systemd },
	}
	if len(args) == 0 {
		e.Stderr = h.log
	}
	code = fleetd.Main(ctx, append([]string{"--config", h.path("fleet.conf")}, args...), e)
	return code, b.String()
}

// start starts the daemon.
func (h *host) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		code, _ := h.fleetd(ctx)
		ended <- code
	}()
	h.stop = func() int {
		cancel()
		code := <-ended
		h.stop = func() int { return 0 }
		return code
	}
	h.t.Cleanup(func() { h.stop() })
	for range 500 {
		if _, err := os.Stat(h.path("fleet.sock")); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatal("fleetd does not listen")
}

func (h *host) fleetctl(line string) string {
	h.t.Helper()
	var b bytes.Buffer
	env := map[string]string{"FLEETCTL_ENDPOINT": "unix://" + h.path("fleet.sock"), "FLEETCTL_REQUEST_TIMEOUT": "10"}
	code := fleetctl.Main(h.t.Context(), strings.Fields(line), &fleetctl.Env{
		Stdin: strings.NewReader(""), Stdout: &b, Stderr: &b, Getenv: func(key string) string { return env[key] },
		MachineID: h.id, Sleep: func(_ context.Context, d time.Duration) { time.Sleep(d) },
	})
	if code != 0 {
		fmt.Fprintf(&b, "exit %d\n", code)
	}
	return b.String()
}

// until asks until the answer is as wanted.
func (h *host) until(line, want string) {
	h.t.Helper()
	got := ""
	for range 1000 {
		if got = h.fleetctl(line); got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	assert.Equal(h.t, want, got, line)
}

// fleetd and fleetctl with an etcd that asks for a password.
func TestPrograms(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, &etcdtest.Options{})
	etcd.Etcdctl("user", "add", "fleet:secret")
	etcd.Etcdctl("role", "add", "fleet")
	etcd.Etcdctl("role", "grant-permission", "fleet", "readwrite", "--prefix", registry.DefaultPrefix)
	etcd.Etcdctl("user", "grant-role", "fleet", "fleet")
	etcd.EnableAuth("of root")
	config := fmt.Sprintf("etcd_servers=%q\netcd_username=fleet\netcd_password=secret\nmetadata=role=test", etcd.Endpoints())
	var hosts []*host
	for i := range 2 {
		hosts = append(hosts, newHost(t, i+1, config))
		hosts[i].start()
	}
	a, b := hosts[0], hosts[1]
	a.until("list-machines", "MACHINE\t\tIP\t\tMETADATA\n00000000...\t10.0.0.1\trole=test\n00000000...\t10.0.0.2\trole=test\n")

	a.write("web@.service", "[Unit]\nDescription=Web %i\n[Service]\nExecStart=/usr/bin/web\n[X-Fleet]\nConflicts=%p@*.service\n")
	started := a.fleetctl("start " + a.path("web@1") + " " + a.path("web@2.service"))
	assert.Contains(t, started, "Unit web@1.service inactive\nUnit web@2.service inactive\n")
	assert.Contains(t, started, "Unit web@1.service launched on 00000000.../10.0.0.")
	assert.Contains(t, started, "Unit web@2.service launched on 00000000.../10.0.0.")
	assert.Len(t, a.systemd.Running(), 1)
	assert.Len(t, b.systemd.Running(), 1)
	a.until("list-units --fields=unit,load,active,sub,hash", `UNIT		LOAD	ACTIVE	SUB	HASH
web@1.service	loaded	active	running	41182fa
web@2.service	loaded	active	running	41182fa
`)
	assert.Equal(t, "UNIT\t\tDESC\tDSTATE\t\tGLOBAL\nweb@1.service\tWeb %i\tlaunched\tfalse\nweb@2.service\tWeb %i\tlaunched\tfalse\n",
		a.fleetctl("list-unit-files --fields=unit,desc,dstate,global"))

	// A unit that fits anywhere leaves a machine that drains; the other cannot.
	a.write("free.service", "[Service]\nExecStart=/usr/bin/free\n")
	a.fleetctl("start " + a.path("free.service"))
	drained, stays := a, "web@1.service"
	if b.systemd.Running()["free.service"] > 0 {
		drained = b
	}
	if drained.systemd.Running()["web@2.service"] > 0 {
		stays = "web@2.service"
	}
	code, out := drained.fleetd(t.Context(), "drain", "--timeout", "20s")
	assert.Equal(t, "no other machine takes: "+stays+"\ndrained\n", out)
	assert.Equal(t, 0, code)
	assert.NotContains(t, drained.systemd.Running(), "free.service")
	// The machine that has the unit now must have said so: list-units may show
	// what the drained one said before.
	const launched = "UNIT\t\tSTATE\nfree.service\tlaunched\nweb@1.service\tlaunched\nweb@2.service\tlaunched\n"
	a.until("list-unit-files --fields=unit,state", launched)
	code, out = drained.fleetd(t.Context(), "undrain")
	assert.Equal(t, "", out)
	assert.Equal(t, 0, code)

	// Everything runs on without fleetd, and is as it was when it is back.
	before := a.systemd.Starts() + b.systemd.Starts()
	assert.Equal(t, 0, a.stop())
	assert.Equal(t, 0, b.stop())
	assert.Len(t, a.systemd.Running(), 2-len(b.systemd.Running())+1)
	a.start()
	b.start()
	a.until("list-unit-files --fields=unit,state", launched)
	a.until("list-units --fields=unit,sub", "UNIT\t\tSUB\nfree.service\trunning\nweb@1.service\trunning\nweb@2.service\trunning\n")
	assert.Equal(t, before, a.systemd.Starts()+b.systemd.Starts())

	got := a.fleetctl("stop web@1.service free")
	assert.Contains(t, got, "Unit free.service loaded on 00000000.../10.0.0.")
	assert.Contains(t, got, "Successfully stopped units [web@1.service free.service].\n")
	assert.Equal(t, "Destroyed web@1.service\nDestroyed web@2.service\nDestroyed free.service\n", a.fleetctl("destroy web@1 web@2 free"))
	a.until("list-units", "UNIT\tMACHINE\tACTIVE\tSUB\n")
	assert.Empty(t, a.systemd.Running())

	// Without etcd everybody is told.
	etcd.Members()[0].Stop()
	assert.Contains(t, a.fleetctl("list-units"), "Error retrieving list of units from repository: fleet server unable to communicate with etcd\n")
}

func TestMainRefuses(t *testing.T) {
	for _, c := range []struct {
		config string
		args   []string
		want   string
		code   int
	}{
		{"agent_ttl=1s", nil, "fleetd: DIR/fleet.conf:5: agent_ttl: 1s is not between 2s and 24h0m0s\n", 1},
		{"api_listen=:80", nil, "fleetd: DIR/fleet.conf: api_listen needs api_cafile, api_certfile and api_keyfile: whoever reaches the API can run anything as root\n", 1},
		{"etcd_cafile=/nowhere", nil, "fleetd: etcd_cafile: open /nowhere: no such file or directory\n", 1},
		{"", []string{"fly"}, "fleetd: unknown command \"fly\"\n", 2},
		{"", []string{"-x"}, "fleetd: flag provided but not defined: -x\n", 2},
		{"", []string{"drain"}, "fleetd: drain: dial unix DIR/fleet.sock: connect: no such file or directory\n", 1},
	} {
		h := newHost(t, 1, c.config)
		code, out := h.fleetd(t.Context(), c.args...)
		if len(c.args) == 0 {
			text, err := os.ReadFile(h.path("log"))
			require.NoError(t, err)
			out = string(text)
		}
		assert.Equal(t, c.code, code)
		assert.True(t, strings.HasPrefix(strings.ReplaceAll(out, h.dir, "DIR"), c.want), out)
	}
	h := newHost(t, 1, "")
	h.write("machine-id", "uninitialized\n")
	code, _ := h.fleetd(t.Context())
	assert.Equal(t, 1, code)
	text, err := os.ReadFile(h.path("log"))
	require.NoError(t, err)
	assert.Equal(t, "fleetd: "+h.path("machine-id")+": \"uninitialized\" is not an id\n", string(text))
}
