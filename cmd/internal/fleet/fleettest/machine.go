package fleettest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"slipway/cmd/internal/fleet/fleetconf"
	"slipway/cmd/internal/fleet/fleetd"
	"slipway/cmd/internal/fleet/registry"
)

// Timeout of requests of machines.
const Timeout = 5 * time.Second

// Machine is a machine of a fleet: fleetd and a systemd that pretends. It can
// be killed and started again.
type Machine struct {
	registry.Machine
	Systemd *Systemd
	Node    *fleetd.Node
	TTL     time.Duration
	// Requests counts what the machine asks of etcd by method, if it is set.
	Requests *Requests
	// Verbose machines log to the test.
	Verbose bool

	t         testing.TB
	dir       string
	endpoints []string
	client    *clientv3.Client
	stop      context.CancelFunc
	done      chan struct{}
}

// NewMachine makes a machine that does not run yet.
func NewMachine(t testing.TB, endpoints []string, number int, ttl time.Duration) *Machine {
	id := fmt.Sprintf("%08x%024x", number*0x1234567, number)
	return &Machine{
		t: t, dir: filepath.Join(t.TempDir(), "fleet"), endpoints: endpoints, TTL: ttl, Systemd: NewSystemd(),
		Machine: registry.Machine{
			ID: id, PublicIP: fmt.Sprintf("10.0.%d.%d", number/250, number%250+1), Version: "1.0.0", Boot: "boot-1",
		},
	}
}

// Start starts fleetd.
func (m *Machine) Start() {
	m.t.Helper()
	var err error
	m.client, err = NewClient(m.endpoints, m.TTL, m.Requests)
	require.NoError(m.t, err)
	require.NoError(m.t, os.MkdirAll(m.dir, 0o755))
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.done = cancel, make(chan struct{})
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if m.Verbose {
		log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("machine", m.ID[:8])
	}
	m.Node, err = fleetd.NewNode(ctx, &fleetd.Options{
		Client: m.client, Prefix: registry.DefaultPrefix, Timeout: Timeout, Machine: m.Machine, TTL: m.TTL,
		Interval: 500 * time.Millisecond, UnitsDir: filepath.Join(m.dir, "units"), Systemd: m.Systemd, Now: time.Now, Log: log,
	})
	require.NoError(m.t, err)
	node, done := m.Node, m.done
	go func() {
		defer close(done)
		node.Run(ctx)
	}()
	m.t.Cleanup(m.Stop)
}

// Running says whether fleetd runs.
func (m *Machine) Running() bool { return m.stop != nil }

// Stop ends fleetd. Units keep running.
func (m *Machine) Stop() {
	if m.stop == nil {
		return
	}
	m.stop()
	<-m.done
	m.stop = nil
	m.client.Close()
}

// Kill ends fleetd without letting it say anything more to etcd.
func (m *Machine) Kill() {
	if m.stop == nil {
		return
	}
	m.client.Close()
	m.Stop()
}

// Reboot starts the machine anew, units and all.
func (m *Machine) Reboot() {
	m.Kill()
	m.Systemd.Reboot()
	require.NoError(m.t, os.RemoveAll(m.dir))
	m.Boot += "+"
	m.Start()
}

// Requests counts requests.
type Requests struct {
	mu sync.Mutex
	by map[string]int
}

// Take gives the counts since the last Take.
func (r *Requests) Take() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := r.by
	r.by = nil
	return by
}

func (r *Requests) add(method string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]int{}
	}
	r.by[filepath.Base(method)]++
}

// NewClient makes a client of etcd as fleetd has it; requests may be nil.
func NewClient(endpoints []string, ttl time.Duration, requests *Requests) (*clientv3.Client, error) {
	c := &fleetconf.Config{EtcdServers: endpoints, EtcdTimeout: Timeout, AgentTTL: ttl}
	if requests == nil {
		return fleetd.Connect(c)
	}
	return fleetd.Connect(c,
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			requests.add(method)
			return invoke(ctx, method, req, reply, cc, o...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn,
			method string, stream grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			requests.add(method)
			return stream(ctx, d, cc, method, o...)
		}))
}
