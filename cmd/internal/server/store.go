package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// maxMachines bounds how many machines are remembered. Others are
	// answered all the same.
	maxMachines = 1 << 20
	// forgetAfter is how long a machine is remembered that does not come back.
	forgetAfter = 90 * 24 * time.Hour
	// lockWait is how long a server waits for one that still has the file.
	lockWait = 2 * time.Second
)

// The buckets of the file. Each holds JSON.
const (
	machinesBucket = "machines"  // a Machine under its id
	haltsBucket    = "halts"     // a Halt under the channel's name
	pointersBucket = "pointers"  // a seenPointer under the channel's name
	tokensBucket   = "discovery" // a cluster under its token
)

// store keeps the machines: in memory for reading, and in a file, which has
// every change before the machine gets its answer. Changes that come together
// are written together. It keeps other records in the file too, for those who
// have them in memory themselves.
type store struct {
	db *bbolt.DB

	mu       sync.Mutex
	machines map[string]*Machine // never changed once in here
	trials   map[trial]tally
	next     *batch
	closed   bool
	failure  error // of the last batch

	wake    chan struct{}
	stop    chan struct{}
	written sync.WaitGroup
	writing sync.Mutex // batches are written in order
}

// batch is the changes of one transaction.
type batch struct {
	machines map[string]*Machine // nil is to be forgotten
	records  map[record][]byte   // nil is to be forgotten
	done     chan struct{}       // closed when written
	err      error
}

// record names what is in a bucket.
type record struct{ bucket, key string }

func newBatch() *batch {
	return &batch{machines: map[string]*Machine{}, records: map[record][]byte{}, done: make(chan struct{})}
}

func openStore(name string) (*store, error) {
	// The list of free pages is found again when the file is opened, instead of
	// being written with every batch.
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{
		Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		err = errors.New("in use by another server")
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	s := &store{
		db: db, machines: map[string]*Machine{}, trials: map[trial]tally{},
		next: newBatch(), wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", name, err), db.Close())
	}
	s.written.Go(s.write)
	return s, nil
}

func (s *store) load() error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{machinesBucket, haltsBucket, pointersBucket, tokensBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return loadAll(s, machinesBucket, func(id string, m *Machine) {
		s.machines[id] = m
		s.count(m, 1)
	})
}

// loadAll gives every record of a bucket.
func loadAll[T any](s *store, bucket string, each func(key string, value *T)) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(key, text []byte) error {
			value := new(T)
			if err := json.Unmarshal(text, value); err != nil {
				return fmt.Errorf("%s: %q: %w", bucket, key, err)
			}
			each(string(key), value)
			return nil
		})
	})
}

var errClosed = errors.New("database: closed")

// change applies fn to a copy of a machine, new or known, and returns when that
// is in the file. A machine without an id is not remembered.
func (s *store) change(ctx context.Context, id string, fn func(*Machine)) (*Machine, error) {
	m := &Machine{ID: id}
	if id == "" {
		fn(m)
		return m, nil
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	known := s.machines[id]
	if known != nil {
		*m = *known
	}
	fn(m)
	if known == nil && len(s.machines) >= maxMachines {
		s.mu.Unlock()
		return m, nil
	}
	if known != nil {
		s.count(known, -1)
	}
	s.count(m, 1)
	s.machines[id] = m
	b := s.next
	b.machines[id] = m
	s.mu.Unlock()
	return m, s.wait(ctx, b)
}

// put writes any record and returns when it is in the file; a nil value takes
// the record out.
func (s *store) put(ctx context.Context, r record, value any) error {
	var text []byte
	if value != nil {
		var err error
		if text, err = json.Marshal(value); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	b := s.next
	b.records[r] = text
	s.mu.Unlock()
	return s.wait(ctx, b)
}

// wait has a batch written.
func (s *store) wait(ctx context.Context, b *batch) error {
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget takes out the machines that nobody has seen for long.
func (s *store) forget(ctx context.Context, now time.Time) (n int, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, errClosed
	}
	b := s.next
	for id, m := range s.machines {
		if now.Sub(m.Seen) > forgetAfter {
			s.count(m, -1)
			delete(s.machines, id)
			b.machines[id] = nil
			n++
		}
	}
	s.mu.Unlock()
	if n == 0 {
		return 0, nil
	}
	return n, s.wait(ctx, b)
}

// all lists the machines in no order.
func (s *store) all() []*Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Machine, 0, len(s.machines))
	for _, m := range s.machines {
		list = append(list, m)
	}
	return list
}

// close writes what is left and lets go of the file.
func (s *store) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.written.Wait()
	return s.db.Close()
}
