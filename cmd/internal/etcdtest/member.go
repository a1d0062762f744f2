package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// killed and the others are the signals that members get.
const (
	killed  = syscall.SIGKILL
	stopped = syscall.SIGTERM
	frozen  = syscall.SIGSTOP
	thawed  = syscall.SIGCONT
)

// Member is one member of a cluster. A process that ends by itself fails the
// test when something waits for it.
type Member struct {
	Name     string
	Endpoint string // client URL
	Metrics  string // URL of /health and /metrics, without TLS
	PeerURL  string // as the others know it
	DataDir  string

	c       *Cluster
	listen  string // peer URL that etcd listens on, behind PeerURL
	initial string // ETCD_INITIAL_CLUSTER of the first start
	state   string // and its state
	paused  bool
	process *os.Process
	pid     atomic.Int64  // of process, for network
	exited  chan struct{} // closed when process has ended
}

// add makes a member that is not started yet.
func (c *Cluster) add() *Member {
	name := memberName(len(c.members))
	ports := freePorts(c.t, 3)
	m := &Member{
		c: c, Name: name, DataDir: filepath.Join(c.dir, name),
		Endpoint: fmt.Sprintf("%s://127.0.0.1:%d", c.scheme(), ports[0]),
		Metrics:  fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		listen:   fmt.Sprintf("%s://127.0.0.1:%d", c.scheme(), ports[2]),
	}
	m.PeerURL = c.scheme() + "://" + c.network.open(c.t, m)
	c.members = append(c.members, m)
	return m
}

// begin starts a member for the first time, in a cluster of those others.
func (m *Member) begin(state string, members []*Member) {
	var all []string
	for _, other := range members {
		all = append(all, other.Name+"="+other.PeerURL)
	}
	m.state, m.initial = state, strings.Join(all, ",")
	m.Start()
}

// Join starts a member that was wiped as a new one, by the variables that
// "etcdctl member add" printed for it.
func (m *Member) Join(printed string) {
	m.c.t.Helper()
	variable := func(name string) string {
		for line := range strings.Lines(printed) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
				return strings.Trim(value, `"`)
			}
		}
		m.c.t.Fatalf("etcdctl member add printed no %s:\n%s", name, printed)
		return ""
	}
	m.initial, m.state = variable("ETCD_INITIAL_CLUSTER"), variable("ETCD_INITIAL_CLUSTER_STATE")
	m.Start()
}

// Start starts a member that is not running, with the data it has. It does not
// wait for it.
func (m *Member) Start() {
	m.c.t.Helper()
	if m.running() {
		m.c.t.Fatalf("etcd %s: started twice", m.Name)
	}
	log, err := os.OpenFile(m.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(m.c.etcd)
	cmd.Env = m.environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: killed}
	m.exited, m.paused = make(chan struct{}), false
	// The kernel kills a child when the thread that started it ends, so that
	// thread stays until the child has ended.
	started := make(chan error)
	exited := m.exited
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		m.c.t.Fatal(err)
	}
	m.process = cmd.Process
	m.pid.Store(int64(cmd.Process.Pid))
}

// environment configures etcd, as etcd.service does: quick to elect, careless
// of power cuts. Nothing of the host's environment is in it.
func (m *Member) environment() []string {
	env := append([]string{"PATH=/nonexistent"}, m.c.environment(m.Name, "etcd.env")...)
	env = append(env, m.c.o.Environment...)
	initial := m.initial
	if m.c.o.Discovery != "" {
		initial = "" // etcd takes one of the two
	}
	v2 := ""
	if m.c.o.V2 {
		v2 = "true"
	}
	for _, v := range [][2]string{
		{"NAME", m.Name},
		{"DATA_DIR", m.DataDir},
		{"LISTEN_CLIENT_URLS", m.Endpoint},
		{"ADVERTISE_CLIENT_URLS", m.Endpoint},
		{"LISTEN_METRICS_URLS", m.Metrics},
		{"LISTEN_PEER_URLS", m.listen},
		{"INITIAL_ADVERTISE_PEER_URLS", m.PeerURL},
		{"INITIAL_CLUSTER", initial},
		{"INITIAL_CLUSTER_STATE", m.state},
		{"INITIAL_CLUSTER_TOKEN", m.c.token},
		{"DISCOVERY", m.c.o.Discovery},
		{"ENABLE_V2", v2},
		{"HEARTBEAT_INTERVAL", "50"},
		{"ELECTION_TIMEOUT", "500"},
		{"UNSAFE_NO_FSYNC", "true"},
		{"LOG_LEVEL", "warn"},
	} {
		env = append(env, "ETCD_"+v[0]+"="+v[1]) // the last of a name counts
	}
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasSuffix(v, "=") })
}

func (m *Member) log() string { return m.DataDir + ".log" }

// Log is what the member wrote so far.
func (m *Member) Log() string {
	m.c.t.Helper()
	text, err := os.ReadFile(m.log())
	if err != nil {
		m.c.t.Fatal(err)
	}
	return string(text)
}

// running says whether the process is there, paused or not.
func (m *Member) running() bool {
	if m.exited == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

func (m *Member) signal(s os.Signal) {
	if err := m.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.c.t.Fatalf("etcd %s: %v", m.Name, err)
	}
}

// Kill ends the process as a power cut would, but for what the kernel has
// cached.
func (m *Member) Kill() { m.quit(killed) }

// Stop ends the process as systemd does. A leader hands over first.
func (m *Member) Stop() { m.quit(stopped) }

func (m *Member) quit(s os.Signal) {
	m.c.t.Helper()
	if m.paused {
		m.Resume()
	}
	m.signal(s)
	<-m.exited
}

// Pause halts the process, connections and all, until Resume.
func (m *Member) Pause() {
	m.signal(frozen)
	m.paused = true
}

// Resume lets a paused process go on.
func (m *Member) Resume() {
	m.signal(thawed)
	m.paused = false
}

// Isolate cuts the member off from the other members; clients reach it still.
func (m *Member) Isolate() { m.c.Split(m) }

// Rejoin ends Isolate.
func (m *Member) Rejoin() { m.c.network.mend([]*Member{m}) }

// Wipe removes the data of a member that is not running: its disk is lost.
func (m *Member) Wipe() {
	m.c.t.Helper()
	if m.running() {
		m.c.t.Fatalf("etcd %s: wiped while it runs", m.Name)
	}
	if err := os.RemoveAll(m.DataDir); err != nil {
		m.c.t.Fatal(err)
	}
}

// WaitHealthy waits until the member has a leader and answers reads.
func (m *Member) WaitHealthy() {
	m.c.t.Helper()
	m.wait("healthy", func(ctx context.Context) bool {
		var health struct{ Health string }
		return m.c.ask(ctx, "GET", m.Endpoint+"/health", "", &health) == nil && health.Health == "true"
	})
}

// WaitLost waits until the member runs and says that it has no leader.
func (m *Member) WaitLost() {
	m.c.t.Helper()
	m.wait("without a leader", func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Metrics+"/health", nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
}

// WaitEnd waits until the process ends by itself.
func (m *Member) WaitEnd() {
	m.c.t.Helper()
	select {
	case <-m.exited:
	case <-time.After(patience):
		m.c.t.Fatalf("etcd %s: still runs after %v\n%s", m.Name, patience, m.c.logs())
	}
}

// wait polls a running member until ok.
func (m *Member) wait(what string, ok func(context.Context) bool) {
	m.c.t.Helper()
	ctx, cancel := context.WithTimeout(m.c.t.Context(), patience)
	defer cancel()
	for !ok(ctx) {
		if !m.running() {
			m.c.t.Fatalf("etcd %s: ended, want it %s\n%s", m.Name, what, m.c.logs())
		}
		if !pause(ctx) {
			m.c.t.Fatalf("etcd %s: not %s after %v\n%s", m.Name, what, patience, m.c.logs())
		}
	}
}

// leads says whether the member takes itself for the leader.
func (m *Member) leads(ctx context.Context) bool {
	var status struct {
		Header struct {
			MemberID string `json:"member_id"`
		}
		Leader string
	}
	err := m.c.ask(ctx, "POST", m.Endpoint+"/v3/maintenance/status", "{}", &status)
	return err == nil && status.Leader != "0" && status.Leader == status.Header.MemberID
}
