package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
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
	// maxAsked is about how many machines etcd is asked one by one; it takes 128
	// operations in one transaction.
	maxAsked = 100
	// requestLimit is how long etcd may take for an answer.
	requestLimit = 10 * time.Second
	// electionLimit is how long the members of etcd may take to choose a leader.
	electionLimit = 5 * time.Second
	electionPause = 200 * time.Millisecond
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

// View reads the lock and which of its holders are there, and of the machines that
// are named besides, all at one moment. A lock that was never taken is not
// written.
func (s *Store) View(ctx context.Context, also ...string) (*View, error) {
	who := also
	for range maxConflicts {
		// A transaction without a condition is one linearizable read.
		resp, err := s.read(ctx, append(s.presence(who), clientv3.OpGet(s.key()))...)
		if err != nil {
			return nil, err
		}
		v, err := s.parse(resp)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(v.Holders(), func(id string) bool { return !slices.Contains(who, id) }) {
			return v, nil
		}
		who = slices.Concat(also, v.Holders()) // known now, and asked about
	}
	return nil, s.busy()
}

// presence asks about machines: each by itself, for there may be thousands that
// have nothing to do with the lock, or all, if the list is long.
func (s *Store) presence(ids []string) []clientv3.Op {
	if len(ids) > maxAsked {
		return []clientv3.Op{clientv3.OpGet(s.machine(""), clientv3.WithPrefix())}
	}
	var list []clientv3.Op
	for _, id := range ids {
		list = append(list, clientv3.OpGet(s.machine(id)))
	}
	return list
}

// parse makes a view of answers about machines and, at the end, the lock.
func (s *Store) parse(resp *clientv3.TxnResponse) (v *View, err error) {
	v = &View{Semaphore: New(), Present: map[string]Presence{}, at: resp.Header.Revision}
	last := len(resp.Responses) - 1
	for _, kv := range resp.Responses[last].GetResponseRange().Kvs {
		v.revision = kv.ModRevision
		if v.Semaphore, err = Parse(kv.Value); err != nil {
			return nil, fmt.Errorf("etcd key %s: %w", s.key(), err)
		}
	}
	for _, answer := range resp.Responses[:last] {
		for _, kv := range answer.GetResponseRange().Kvs {
			var p Presence
			_ = json.Unmarshal(kv.Value, &p) // it is there, whatever it says
			v.Present[strings.TrimPrefix(string(kv.Key), s.machine(""))] = p
		}
	}
	return v, nil
}

func (s *Store) busy() error {
	return fmt.Errorf("etcd key %s: changed by others %d times in a row", s.key(), maxConflicts)
}

// read is a transaction that only reads: it is made again while etcd has no
// leader for a moment, as after one was lost.
func (s *Store) read(ctx context.Context, what ...clientv3.Op) (*clientv3.TxnResponse, error) {
	patient, cancel := context.WithTimeout(ctx, electionLimit)
	defer cancel()
	for {
		resp, err := s.commit(ctx, nil, what...)
		if err == nil {
			return resp, nil
		}
		select {
		case <-time.After(electionPause):
		case <-patient.Done():
			return nil, err
		}
	}
}

// commit makes a transaction.
func (s *Store) commit(
	ctx context.Context, conditions []clientv3.Cmp, then ...clientv3.Op,
) (*clientv3.TxnResponse, error) {
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
func (s *Store) change(
	ctx context.Context, change func(*View) ([]clientv3.Cmp, error), also ...string,
) error {
	for range maxConflicts {
		v, err := s.View(ctx, also...)
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
	return s.busy()
}

// Lock takes the lock for a machine that is there: etcd refuses, and the error
// is ErrNotPresent, unless its presence is known at that moment. gone lists
// holders whose lock is taken away first, if they are still not there then; they
// are returned. Who has the lock already takes none away.
func (s *Store) Lock(
	ctx context.Context, id string, r Record, gone func(*View) []string,
) (taken []string, err error) {
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
	}, id)
	return taken, err
}

// Wait returns when the lock has changed since a view, or one of its holders came
// or went, or when ctx ends.
func (s *Store) Wait(ctx context.Context, since *View) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel() // ends the watches
	heard := make(chan clientv3.WatchResponse)
	watch := func(key string, options ...clientv3.OpOption) {
		w := s.etcd.Watch(ctx, key, append(options, clientv3.WithRev(since.at+1))...)
		go func() {
			for {
				got, open := <-w
				if !open {
					got = clientv3.WatchResponse{Canceled: true}
				}
				select {
				case heard <- got:
				case <-ctx.Done():
					return
				}
				if !open {
					return
				}
			}
		}()
	}
	watch(s.key())
	if holders := since.Holders(); len(holders) > maxAsked {
		watch(s.machine(""), clientv3.WithPrefix())
	} else {
		for _, id := range holders {
			watch(s.machine(id))
		}
	}
	for {
		select {
		case got := <-heard:
			switch {
			case got.CompactRevision > 0 || len(got.Events) > 0:
				return nil
			case got.Canceled:
				return errors.Join(errors.New("etcd: watch ended"), got.Err())
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
