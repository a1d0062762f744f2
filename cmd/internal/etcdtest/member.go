package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
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
	name := fmt.Sprintf("m%d", len(c.members))
	ports := freePorts(c.t, 2)
	m := &Member{
		c: c, Name: name, DataDir: filepath.Join(c.dir, name),
		Endpoint: fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		listen:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
	}
	m.PeerURL = "http://" + c.network.open(c.t, m)
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
	cmd := exec.Command(m.c.etcd, m.arguments()...)
	cmd.Env = []string{"PATH=/nonexistent"} // no ETCD_ variable of the host
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

// arguments are those of etcd: quick to elect, careless of power cuts.
func (m *Member) arguments() []string {
	args := []string{
		"--name", m.Name, "--data-dir", m.DataDir,
		"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
		"--listen-peer-urls", m.listen, "--initial-advertise-peer-urls", m.PeerURL,
		"--initial-cluster", m.initial, "--initial-cluster-state", m.state,
		"--initial-cluster-token", m.c.token,
		"--heartbeat-interval", "50", "--election-timeout", "500",
		"--unsafe-no-fsync", "--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn",
	}
	if m.c.o.V2 {
		args = append(args, "--enable-v2")
	}
	return append(args, m.c.o.Arguments...)
}

func (m *Member) log() string { return m.DataDir + ".log" }

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
