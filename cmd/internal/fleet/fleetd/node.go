// Package fleetd is the daemon of fleet: it puts the agent, the engine and the
// API of a machine together. Each of them is a package beside it.
package fleetd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/fleet/agent"
	"slipway/cmd/internal/fleet/engine"
	"slipway/cmd/internal/fleet/registry"
)

// Node is what runs on one machine: agent, engine, and the machine's presence.
type Node struct {
	Registry *registry.Registry
	Mirror   *registry.Mirror
	Presence *registry.Presence
	Agent    *agent.Agent
	Engine   *engine.Engine // nil if it is turned off
}

// Options says what a node is like.
type Options struct {
	Client  *clientv3.Client
	Prefix  string // of keys
	Timeout time.Duration
	Machine registry.Machine
	TTL     time.Duration // of the machine's lease
	// Interval is how often the engine looks at the schedule at least.
	Interval      time.Duration
	DisableEngine bool
	UnitsDir      string // for unit files; the agent's memory is beside it
	Systemd       agent.Systemd
	Now           func() time.Time
	Log           *slog.Logger
}

// NewNode puts a node together and takes up what ran before.
func NewNode(ctx context.Context, o *Options) (*Node, error) {
	r := registry.New(o.Client, o.Prefix, o.Timeout)
	n := &Node{Registry: r, Mirror: r.NewMirror(o.Log)}
	n.Agent = &agent.Agent{
		Machine: o.Machine.ID, UnitsDir: o.UnitsDir, Systemd: o.Systemd, Registry: r, Mirror: n.Mirror, Now: o.Now, Log: o.Log,
	}
	if err := n.Agent.Open(ctx); err != nil {
		return nil, err
	}
	n.Presence = &registry.Presence{
		Registry: r, Mirror: n.Mirror, Machine: o.Machine, TTL: o.TTL, Lease: clientv3.LeaseID(n.Agent.Lease()),
		NewClusterID: uuid.NewString, Now: o.Now, Log: o.Log,
		Joined: func(id clientv3.LeaseID) { n.Agent.Joined(int64(id)) },
	}
	n.Agent.Presence = n.Presence
	if !o.DisableEngine {
		n.Engine = &engine.Engine{
			Registry: r, Mirror: n.Mirror, Presence: n.Presence, Machine: o.Machine.ID,
			Interval: o.Interval, Settle: o.TTL / 3, Grace: o.TTL / 5, Now: o.Now, Log: o.Log,
		}
	}
	return n, nil
}

// Run runs the node until the context ends. Units keep running then, and the
// machine counts as present until its lease is over.
func (n *Node) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { n.Mirror.Run(ctx) })
	wg.Go(func() { n.Presence.Run(ctx) })
	wg.Go(func() { n.Agent.Run(ctx) })
	if n.Engine != nil {
		wg.Go(func() { n.Engine.Run(ctx) })
	}
}
