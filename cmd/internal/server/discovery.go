package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"
)

// The bounds of the discovery service.
const (
	maxTokens    = 10_000
	tokenTime    = 7 * 24 * time.Hour // a cluster is made within minutes
	maxSize      = 64                 // members of a cluster
	maxExtra     = 64                 // members that come too late
	maxValue     = 4 << 10            // bytes that a member says of itself
	maxWaiting   = 4096               // requests that wait for a member
	defaultSize  = 3
	tokenBytes   = 16
	longPollTime = 5 * time.Minute
)

// cluster is an etcd cluster whose members look for each other.
type cluster struct {
	Size    int       `json:"size"`
	Expires time.Time `json:"expires"`
	// Members are in the order they came; the first Size make the cluster.
	Members []member `json:"members,omitempty"`
}

// member is what a member of a cluster says of itself: "name=peer-url,...".
type member struct {
	ID    string `json:"id"` // in hex
	Value string `json:"value"`
}

// firstIndex is etcd's index of the first member; that of the size is before.
const firstIndex = 2

// index is etcd's index of the last change.
func (c *cluster) index() uint64 { return firstIndex - 1 + uint64(len(c.Members)) }

// discovery keeps the clusters: in memory, and in the file before anybody is
// told.
type discovery struct {
	store  *store
	random io.Reader
	now    func() time.Time

	mu       sync.Mutex
	clusters map[string]*cluster // by token; never changed once in here
	changed  chan struct{}       // closed when a member comes
	waiting  int
}

func openDiscovery(s *store, o *Options) (*discovery, error) {
	d := &discovery{
		store: s, random: o.Random, now: o.Now, clusters: map[string]*cluster{}, changed: make(chan struct{}),
	}
	return d, loadAll(s, tokensBucket, func(token string, c *cluster) { d.clusters[token] = c })
}

// discoveryError is an error with etcd's code for it.
type discoveryError struct {
	status  int
	code    int
	message string
	cause   string
}

func (e *discoveryError) Error() string { return e.message + ": " + e.cause }

func notFound(cause string) error { return &discoveryError{404, 100, "Key not found", cause} }

// create makes a token for a cluster of that size.
func (d *discovery) create(ctx context.Context, size int) (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := io.ReadFull(d.random, raw); err != nil {
		return "", err
	}
	token := hex.EncodeToString(raw)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.clusters) >= maxTokens {
		if err := d.expire(ctx); err != nil {
			return "", err
		}
	}
	if len(d.clusters) >= maxTokens {
		return "", &discoveryError{503, 300, "No room", fmt.Sprintf("there are %d clusters", maxTokens)}
	}
	return token, d.put(ctx, token, &cluster{Size: size, Expires: d.now().Add(tokenTime)})
}

// put keeps a cluster. d is locked.
func (d *discovery) put(ctx context.Context, token string, c *cluster) error {
	if err := d.store.put(ctx, record{tokensBucket, token}, c); err != nil {
		return err
	}
	d.clusters[token] = c
	return nil
}

// expire forgets the clusters whose time is over. d is locked.
func (d *discovery) expire(ctx context.Context) error {
	for token, c := range maps.Clone(d.clusters) {
		if d.now().Before(c.Expires) {
			continue
		}
		if err := d.store.put(ctx, record{tokensBucket, token}, nil); err != nil {
			return err
		}
		delete(d.clusters, token)
	}
	return nil
}

// sweep is expire for others.
func (d *discovery) sweep(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expire(ctx)
}

// count is how many clusters are kept.
func (d *discovery) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.clusters)
}

// of finds a cluster.
func (d *discovery) of(token string) (*cluster, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.locked(token)
}

// locked is of, with d locked.
func (d *discovery) locked(token string) (*cluster, error) {
	if c := d.clusters[token]; c != nil && d.now().Before(c.Expires) {
		return c, nil
	}
	return nil, notFound("/" + token)
}

// join adds a member. One that is there already is refused, also if it says
// the same: a member that lost its data must not found the cluster again.
func (d *discovery) join(ctx context.Context, token string, m member) (*cluster, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.locked(token)
	if err != nil {
		return nil, err
	}
	for _, other := range c.Members {
		if other.ID == m.ID {
			return nil, &discoveryError{412, 105, "Key already exists", "/" + token + "/" + m.ID}
		}
	}
	if len(c.Members) >= c.Size+maxExtra {
		return nil, &discoveryError{403, 110, "The cluster is full", "/" + token}
	}
	next := &cluster{Size: c.Size, Expires: c.Expires, Members: append(append([]member(nil), c.Members...), m)}
	if err := d.put(ctx, token, next); err != nil {
		return nil, err
	}
	close(d.changed)
	d.changed = make(chan struct{})
	return next, nil
}

// wait returns the first member with at least that index, of any id if id is
// "". It gives up, with nil, when the context ends.
func (d *discovery) wait(ctx context.Context, token, id string, from uint64) (*node, uint64, error) {
	d.mu.Lock()
	if d.waiting >= maxWaiting {
		d.mu.Unlock()
		return nil, 0, &discoveryError{503, 300, "No room", "too many requests wait"}
	}
	d.waiting++
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.waiting--
		d.mu.Unlock()
	}()
	for {
		d.mu.Lock()
		c, err := d.locked(token)
		changed := d.changed
		d.mu.Unlock()
		if err != nil {
			return nil, 0, err
		}
		for i, m := range c.Members {
			if n := m.node(token, i); n.Created >= from && (id == "" || id == m.ID) {
				return n, c.index(), nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, c.index(), nil
		}
	}
}
