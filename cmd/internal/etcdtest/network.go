package etcdtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// network carries what members say to each other: each one's peer URL is a
// listener here, which passes connections on unless the two ends are on
// different sides of a split. Who connects is found by the socket, among the
// members' processes.
type network struct {
	mu     sync.Mutex
	gates  []*gate
	sides  map[*Member]int // 0 unless split off
	splits int             // numbers given so far
	wires  map[*wire]bool
}

// gate is a member's listener.
type gate struct {
	net.Listener
	to *Member
}

// wire is an open connection between two members.
type wire struct {
	from, to *Member // from is nil if the socket is gone already
	ends     [2]net.Conn
}

func (w *wire) close() {
	for _, end := range w.ends {
		end.Close()
	}
}

// open gives the address at which the others reach a member from now on.
func (n *network) open(t testing.TB, m *Member) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{l, m}
	n.mu.Lock()
	n.gates = append(n.gates, g)
	n.mu.Unlock()
	go n.serve(g)
	return l.Addr().String()
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.gates {
		g.Close()
	}
	for w := range n.wires {
		w.close()
	}
}

func (n *network) serve(g *gate) {
	for {
		conn, err := g.Accept()
		if err != nil {
			return // closed
		}
		go n.connect(g, conn)
	}
}

// connect carries one connection until an end of it closes or is cut off.
func (n *network) connect(g *gate, conn net.Conn) {
	behind, err := net.Dial("tcp", hostOf(g.to.listen))
	if err != nil {
		conn.Close()
		return
	}
	w := &wire{from: n.owner(conn), to: g.to, ends: [2]net.Conn{conn, behind}}
	defer w.close()
	if !n.admit(w) {
		return
	}
	done := make(chan struct{}, 2)
	for i := range w.ends {
		go func() {
			io.Copy(w.ends[i], w.ends[1-i])
			done <- struct{}{}
		}()
	}
	<-done
	n.mu.Lock()
	delete(n.wires, w)
	n.mu.Unlock()
}

// admit notes a wire unless a split separates its ends.
func (n *network) admit(w *wire) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.separated(w) {
		return false
	}
	n.wires[w] = true
	return true
}

// separated says whether the ends of a wire are on different sides. Of a wire
// from nobody known that is assumed while there is any split.
func (n *network) separated(w *wire) bool {
	if w.from == nil {
		return len(n.sides) > 0
	}
	return n.sides[w.from] != n.sides[w.to]
}

// split puts members on a side of their own.
func (n *network) split(members []*Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.splits++
	for _, m := range members {
		n.sides[m] = n.splits
	}
	for w := range n.wires {
		if n.separated(w) {
			w.close()
		}
	}
}

// mend puts members back on the common side.
func (n *network) mend(members []*Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range members {
		delete(n.sides, m)
	}
}

func (n *network) apart(m *Member) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sides[m] != 0
}

// owner finds the member whose process holds the far end of a connection.
func (n *network) owner(conn net.Conn) *Member {
	inode := socketInode(conn.RemoteAddr().(*net.TCPAddr).Port)
	if inode == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.gates {
		if holds(int(g.to.pid.Load()), "socket:["+inode+"]") {
			return g.to
		}
	}
	return nil
}

// socketInode looks up the socket of a local TCP port on 127.0.0.1 in
// proc_net_tcp(5); "" if it is gone.
func socketInode(port int) string {
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	local := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local && f[9] != "0" {
			return f[9]
		}
	}
	return ""
}

// holds says whether a process has that socket open.
func holds(pid int, socket string) bool {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && target == socket {
			return true
		}
	}
	return false
}

// hostOf is the host and port of a URL.
func hostOf(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return host
}

// freePorts finds TCP ports of loopback that nobody listens on, below those
// that the kernel gives to connections.
func freePorts(t testing.TB, n int) []int {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := 15_000 + rand.IntN(15_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			defer l.Close() // once all are found: each port once
			ports = append(ports, port)
		} else if tries > 1000 {
			t.Fatal(err)
		}
	}
	return ports
}
