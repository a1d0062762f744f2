// Package registry is the memory of a fleet cluster: units, what is wanted of
// them, which machine they were given to, and which machines there are. It is
// kept in etcd, version 3 of its API.
//
// A machine is present as long as its lease is; everything it says of itself
// goes with the lease. Every change is one transaction that compares what it
// was decided on, so that two engines can never give a unit to two machines.
// Readers hold a copy of the registry that a watch keeps up (see [Mirror]).
// Nothing is written that is there already.
//
// A key that is missing means that nobody knows, and never that something has
// to stop: an etcd that was emptied or restored from an old copy is missing
// keys too. What must stop is said: by a target elsewhere, by a state, or by a
// tombstone with the id of the very unit that was destroyed.
//
// The package decides nothing.
package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DefaultPrefix is where the keys of fleet begin.
const DefaultPrefix = "/_coreos.com/fleet/"

// Keys below the prefix. Those that all machines follow sort before "states/",
// so that one range and one watch has them all.
const (
	clusterKey   = "cluster"             // Cluster
	destroyedDir = "destroyed/"          // <unit>: Tombstone
	jobDir       = "job/"                // <unit>/object, /target, /target-state
	leaderKey    = "lease/engine-leader" // Leader
	machinesDir  = "machines/"           // <id>/object, /draining, /metadata/<key>
	statesDir    = "states/"             // <unit>/<machine>: Report
)

// Errors that callers tell apart.
var (
	ErrExists   = errors.New("unit exists already")
	ErrNotFound = errors.New("unit does not exist")
	// ErrChanged says that what a change was decided on is not so any more. It
	// is decided anew.
	ErrChanged = errors.New("registry has changed meanwhile")
)

// maxOps is how many comparisons or writes go into one transaction. etcd
// takes 128 of each unless told otherwise.
const maxOps = 120

// Registry is the way to a registry.
type Registry struct {
	client  *clientv3.Client
	prefix  string
	timeout time.Duration
}

// New makes a registry of a client. The timeout is for each request.
func New(client *clientv3.Client, prefix string, timeout time.Duration) *Registry {
	return &Registry{client, "/" + strings.Trim(prefix, "/") + "/", timeout}
}

func (r *Registry) key(parts ...string) string { return r.prefix + strings.Join(parts, "") }

func (r *Registry) objectKey(unit string) string  { return r.key(jobDir, unit, "/object") }
func (r *Registry) targetKey(unit string) string  { return r.key(jobDir, unit, "/target") }
func (r *Registry) desiredKey(unit string) string { return r.key(jobDir, unit, "/target-state") }
func (r *Registry) stateKey(unit, machine string) string {
	return r.key(statesDir, unit, "/", machine)
}

// end is where the keys that all machines follow end.
func (r *Registry) end() string { return r.key(statesDir) }

// txn runs one transaction; done says whether its comparisons held.
func (r *Registry) txn(ctx context.Context, what string, compares []clientv3.Cmp, ops ...clientv3.Op) (done bool, err error) {
	done, _, err = r.txnAt(ctx, what, compares, ops...)
	return done, err
}

// txnAt is txn that also returns the revision it was done at.
func (r *Registry) txnAt(ctx context.Context, what string, compares []clientv3.Cmp, ops ...clientv3.Op) (
	done bool, revision int64, err error,
) {
	ctx, cancel := r.request(ctx)
	defer cancel()
	var answer *clientv3.TxnResponse
	err = ledMember(ctx, func() (err error) {
		answer, err = r.client.Txn(ctx).If(compares...).Then(ops...).Commit()
		return err
	})
	if err != nil {
		return false, 0, fmt.Errorf("%s: %w", what, err)
	}
	return answer.Succeeded, answer.Header.Revision, nil
}

// ledMember asks one member of etcd after the other as long as they have no
// leader: such a one does nothing, and the next may have one.
func ledMember(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, rpctypes.ErrNoLeader) || ctx.Err() != nil {
			return err
		}
		sleep(ctx, retryPause)
	}
}

// retryPause is between two members that are asked the same.
const retryPause = 20 * time.Millisecond

// request bounds a request. A member that is cut off from the others says so
// at once, instead of being silent.
func (r *Registry) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(clientv3.WithRequireLeader(ctx), r.timeout)
}

// get reads one key or range. The answer is as of now: etcd asks its majority.
// Of a member that hangs nothing is heard, so another is asked as well before
// the time is over.
func (r *Registry) get(ctx context.Context, what, key string, o ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := r.request(ctx)
	defer cancel()
	half, cancelHalf := context.WithTimeout(ctx, r.timeout/2)
	defer cancelHalf()
	answer, err := r.client.Get(half, key, o...)
	if err != nil && ctx.Err() == nil {
		answer, err = r.client.Get(ctx, key, o...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return answer, nil
}

func exists(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }

// unchanged holds for a key that was last written at a revision, 0 for one
// that is not there.
func unchanged(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", revision)
}
