package qemutests_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
	"slipway/signing/omaha"
)

// program is the tool, compiled once.
func (b *bench) program(t testing.TB) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := filepath.Join(b.scratch, "slipway")
	if _, err := os.Stat(name); err != nil {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", name, "./cmd/slipway")
		cmd.Dir = ".."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return name
}

// slipway runs a command of the tool.
func (b *bench) slipway(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.program(t), args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "slipway %v: %s", args, out)
}

// fullPayload makes the full payload of a version, once.
func (l *lab) fullPayload(t testing.TB, v variant) string {
	r := l.variant(t, v)
	return l.payloads[v].get(t, func() string {
		name := filepath.Join(l.scratch, l.Channel+"-"+variantNames[v]+".payload")
		l.slipway(t, "payload", "create", "--level", "development", "-o", name, r.dir)
		return name
	})
}

// deltaPayload makes the payload that leads from one version to another. It is
// offered as the full one, too: a server wants one, and nobody needs it.
func (l *lab) deltaPayload(t testing.TB, dir string, from, to *release) map[string]string {
	name := filepath.Join(dir, from.Version+"-"+to.Version)
	l.slipway(t, "payload", "create", "--level", "development", "--from", from.dir, "-o", name, to.dir)
	return map[string]string{"update-from-" + from.Version + ".payload": name, "update.payload": name}
}

// updates is "slipway serve" with releases of its own, and the only thing that
// machines reach.
type updates struct {
	lab     *lab
	dir     string
	process *exec.Cmd
	address string
	wire    *wire
	log     bytes.Buffer // read it after the process has ended
}

// guestServer is where guests find the server.
const guestServer = "10.0.2.100:80"

func newUpdates(t testing.TB, l *lab) *updates {
	u := &updates{lab: l, dir: t.TempDir()}
	u.wire = newWire(t)
	u.start(t)
	t.Cleanup(u.kill)
	return u
}

// start starts the server at any port.
func (u *updates) start(t testing.TB) {
	t.Helper()
	u.process = exec.Command(u.lab.program(t), "serve", "--releases", u.dir, "--listen", "127.0.0.1:0",
		"--url", "http://"+guestServer)
	out, err := u.process.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, u.process.Start())
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := regexp.MustCompile(`msg=serving address=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
			fmt.Fprintln(&u.log, lines.Text())
		}
		close(found)
	}()
	address, ok := <-found
	require.True(t, ok, "slipway serve: %s", &u.log)
	u.address = address
	u.wire.lead(address)
}

// forget has the server start anew without what machines told it.
func (u *updates) forget(t testing.TB) {
	t.Helper()
	u.kill()
	require.NoError(t, os.Remove(filepath.Join(u.dir, ".machines.db")))
	u.start(t)
}

// kill ends the server without warning.
func (u *updates) kill() {
	_ = u.process.Process.Kill()
	_ = u.process.Wait()
}

// offer makes a release the current one of a channel, with its payloads by
// their names in the release directory.
func (u *updates) offer(t testing.TB, channel string, r *release, payloads map[string]string) {
	t.Helper()
	dir := filepath.Join(u.dir, channel, r.Version)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	copyFile(t, r.path("release.json"), filepath.Join(dir, "release.json"))
	for name, from := range payloads {
		copyFile(t, from, filepath.Join(dir, name))
	}
	link := filepath.Join(u.dir, channel, "current")
	require.NoError(t, os.Symlink(r.Version, link+".new"))
	require.NoError(t, os.Rename(link+".new", link))
	want := fileSize(t, filepath.Join(dir, "update.payload"))
	// The server looks every two seconds.
	require.Eventually(t, func() bool { return u.offered(t, channel) == want }, time.Minute, 100*time.Millisecond)
}

// offered is the size of the full payload that a machine of no name would be
// offered, 0 if none.
func (u *updates) offered(t testing.TB, channel string) int64 {
	t.Helper()
	var q bytes.Buffer
	require.NoError(t, omaha.Encode(&q, &omaha.Request{Protocol: omaha.Protocol, Apps: []*omaha.App{{
		ID: "any", Version: "0.0.1", Track: channel, UpdateCheck: &omaha.UpdateCheck{},
	}}}))
	r, err := http.Post("http://"+u.address+"/v1/update/", "text/xml", &q)
	require.NoError(t, err)
	defer r.Body.Close()
	answer, err := omaha.ReadResponse(r.Body)
	require.NoError(t, err)
	update, err := answer.Apps[0].UpdateCheck.Update()
	if err != nil {
		return 0
	}
	return update.Size
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.Create(to)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// get asks the server as an administrator does.
func (u *updates) get(t testing.TB, path string) string {
	t.Helper()
	r, err := http.Get("http://" + u.address + path)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(text)
}

// wire is the network between machines and what they reach: it can be slow or
// dead.
type wire struct {
	listener net.Listener
	target   atomic.Pointer[string]
	rate     atomic.Int64 // bytes a second towards the machine, 0 for any
	passed   atomic.Int64 // bytes towards the machine

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newWire(t testing.TB) *wire {
	w := &wire{conns: map[net.Conn]bool{}}
	var err error
	w.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { w.listener.Close(); w.cut() })
	go func() {
		for {
			conn, err := w.listener.Accept()
			if err != nil {
				return
			}
			go w.carry(conn)
		}
	}()
	return w
}

// lead has new connections go to an address; "" is nowhere.
func (w *wire) lead(address string) { w.target.Store(&address) }

// cut breaks every connection there is.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

func (w *wire) keep(c net.Conn, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.conns[c] = true
	} else {
		delete(w.conns, c)
		c.Close()
	}
}

func (w *wire) carry(guest net.Conn) {
	w.keep(guest, true)
	defer w.keep(guest, false)
	server, err := net.Dial("tcp", *w.target.Load())
	if err != nil {
		return
	}
	w.keep(server, true)
	defer w.keep(server, false)
	go func() {
		_, _ = io.Copy(server, guest)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	part := make([]byte, 32<<10)
	for {
		n, err := server.Read(part)
		if rate := w.rate.Load(); rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if _, err := guest.Write(part[:n]); err != nil {
			return
		}
		w.passed.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// online is a configuration of a machine that reaches the server.
func (u *updates) online(c *vm.Config) *vm.Config {
	c.Reach = map[string]string{guestServer: u.wire.listener.Addr().String()}
	c.Connector = []string{os.Args[0], connectWord}
	return c
}

// asks has the machine take its updates from the server, and waits for its
// engine.
func (m *machine) asks(t testing.TB, lines ...string) {
	t.Helper()
	config := append([]string{
		"SERVER=http://" + guestServer + "/v1/update/", "GROUP=" + m.lab.Channel, "REBOOT_STRATEGY=off",
	}, lines...)
	m.run(t, "mkdir -p /etc/coreos && cat >/etc/coreos/update.conf <<'E'\n"+strings.Join(config, "\n")+"\nE\n"+
		"systemctl start update-engine.service")
}

// updates has the engine look for an update and waits for the end of it.
func (m *machine) updates(t testing.TB) (status string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), updateLimit)
	defer cancel()
	out, code, err := m.Run(ctx, startEngine+"update_engine_client -update >/run/update.log 2>&1; code=$?; "+
		"tail -n 5 /run/update.log; exit $code")
	require.NoError(t, err, "%s\n%s", out, m.Console().Tail())
	require.Zero(t, code, out)
	return out
}

// startEngine is for machines that are still starting.
const startEngine = "systemctl start update-engine.service && "

// looks has the engine look for an update, and does not wait.
func (m *machine) looks(t testing.TB) {
	t.Helper()
	m.run(t, startEngine+"update_engine_client -check_for_update")
}

// updateLimit is for an update on a busy machine without KVM.
const updateLimit = 10 * time.Minute

// reaches waits until a download has come so far; pattern is of the progress.
func (m *machine) reaches(t testing.TB, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), updateLimit)
	defer cancel()
	// Asking again and again would take half of the processor from the engine.
	out, code, err := m.Run(ctx, "until update_engine_client -status | grep -qE '"+pattern+"' || "+
		"timeout 20 grep -qm 1 -E '"+pattern+"' < <(exec update_engine_client -watch_for_updates 2>/dev/null); "+
		"do sleep 0.3; done; update_engine_client -status")
	require.NoError(t, err, "%s\n%s", out, m.Console().Tail())
	require.Zero(t, code, out)
}

// engineLog is what the update engine said in this boot.
func (m *machine) engineLog(t testing.TB) string {
	t.Helper()
	return m.run(t, "journalctl --sync; journalctl -b -o cat --no-pager -u update-engine.service")
}

// digestLine is what sha256sum prints of a file on its standard input.
func digestLine(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x  -", h.Sum(nil))
}

// merge joins two sets of credentials.
func merge(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func fileSize(t testing.TB, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Size()
}
