package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	root      = "coreos.com/updateengine/rebootlock"
	groups    = "groups"
	semaphore = "semaphore"
	machines  = "machines"

	// maxConflicts bounds how often a change is tried again after others were
	// faster. Of so many at once one always succeeds.
	maxConflicts = 100
	// requestLimit is how long etcd may take for an answer.
	requestLimit = 10 * time.Second
)

// ErrNotPresent says that a machine wants the lock and is not seen to be there.
var ErrNotPresent = errors.New("this machine's presence is not in etcd")

// Etcd is what a Store needs of a client.
type Etcd interface {
	clientv3.KV
	clientv3.Lease
	clientv3.Watcher
}

// Store is the lock of one group in etcd.
type Store struct {
	etcd Etcd
	dir  string
}

// NewStore finds the lock of a group, "" for the machines that are in none.
// Nothing is asked of etcd yet.
func NewStore(etcd Etcd, group string) *Store {
	dir := root
	if group != "" {
		dir = path.Join(root, groups, url.QueryEscape(group))
	}
	return &Store{etcd, dir}
}

func (s *Store) key() string              { return s.dir + "/" + semaphore }
func (s *Store) machine(id string) string { return s.dir + "/" + machines + "/" + id }

// View reads the lock and the machines that are there, both at one moment. A
// lock that was never taken is not written.
func (s *Store) View(ctx context.Context) (*View, error) {
	// A transaction without a condition is one linearizable read.
	resp, err := s.commit(ctx, nil, clientv3.OpGet(s.key()), clientv3.OpGet(s.machine(""), clientv3.WithPrefix()))
	if err != nil {
		return nil, err
	}
	v := &View{Semaphore: New(), Present: map[string]Presence{}, at: resp.Header.Revision}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		v.revision = kv.ModRevision
		if v.Semaphore, err = Parse(kv.Value); err != nil {
			return nil, fmt.Errorf("etcd key %s: %w", s.key(), err)
		}
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		var p Presence
		if len(kv.Value) <= maxDocument {
			_ = json.Unmarshal(kv.Value, &p) // it is there, whatever it says
		}
		v.Present[strings.TrimPrefix(string(kv.Key), s.machine(""))] = p
	}
	return v, nil
}

// commit makes a transaction.
func (s *Store) commit(ctx context.Context, conditions []clientv3.Cmp, then ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	resp, err := s.etcd.Txn(ctx).If(conditions...).Then(then...).Commit()
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return resp, nil
}

// Change makes a change to the lock and returns when etcd has it. The change may
// be computed several times: over again while others are faster.
func (s *Store) Change(ctx context.Context, change func(*View) error) error {
	return s.change(ctx, func(v *View) ([]clientv3.Cmp, error) { return nil, change(v) })
}

// change makes a change under conditions that etcd checks together with the
// revision. One that does not hold has to show in the next view.
func (s *Store) change(ctx context.Context, change func(*View) ([]clientv3.Cmp, error)) error {
	for range maxConflicts {
		v, err := s.View(ctx)
		if err != nil {
			return err
		}
		conditions, err := change(v)
		if err != nil {
			return err
		}
		text, err := json.Marshal(v.Semaphore)
		if err != nil {
			return fmt.Errorf("internal error: lock: %w", err)
		}
		same := clientv3.Compare(clientv3.ModRevision(s.key()), "=", v.revision)
		resp, err := s.commit(ctx, append(conditions, same), clientv3.OpPut(s.key(), string(text)))
		if err != nil {
			return err
		}
		if resp.Succeeded {
			return nil
		}
	}
	return fmt.Errorf("etcd key %s: changed by others %d times in a row", s.key(), maxConflicts)
}

// Lock takes the lock for a machine that is there: etcd refuses, and the error
// is ErrNotPresent, unless its presence is known at that moment. gone lists
// holders whose lock is taken away first, if they are still not there then; they
// are returned. Who has the lock already takes none away.
func (s *Store) Lock(ctx context.Context, id string, r Record, gone func(*View) []string) (taken []string, err error) {
	err = s.change(ctx, func(v *View) ([]clientv3.Cmp, error) {
		taken = nil
		if _, there := v.Present[id]; !there {
			return nil, ErrNotPresent
		}
		if _, held := v.Holder(id); !held {
			taken = gone(v)
		}
		there := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(s.machine(id)), ">", 0)}
		for _, other := range taken {
			if err := v.Unlock(other); err != nil {
				return nil, err
			}
			there = append(there, clientv3.Compare(clientv3.CreateRevision(s.machine(other)), "=", 0))
		}
		return there, v.Semaphore.Lock(id, r)
	})
	return taken, err
}

// Wait returns when the lock or a machine that is there has changed since a
// view, or when ctx ends.
func (s *Store) Wait(ctx context.Context, since *View) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel() // ends the watches
	from := clientv3.WithRev(since.at + 1)
	lock := s.etcd.Watch(ctx, s.key(), from)
	there := s.etcd.Watch(ctx, s.machine(""), clientv3.WithPrefix(), from)
	for {
		var got clientv3.WatchResponse
		var open bool
		select {
		case got, open = <-lock:
		case got, open = <-there:
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !open:
			return errors.New("etcd: watch ended")
		case got.CompactRevision > 0:
			return nil // much has happened since
		case got.Err() != nil:
			return fmt.Errorf("etcd: watch: %w", got.Err())
		case len(got.Events) > 0:
			return nil
		}
	}
}
