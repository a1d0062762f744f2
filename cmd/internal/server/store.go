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
	// lockWait is how long a server waits for one that still has the file.
	lockWait = 2 * time.Second
)

// machinesBucket holds a Machine in JSON under each id.
var machinesBucket = []byte("machines")

// store keeps the machines: in memory for reading, and in a file, which has
// every change before the machine gets its answer. Changes that come together
// are written together.
type store struct {
	db *bbolt.DB

	mu       sync.Mutex
	machines map[string]*Machine // never changed once in here
	next     *batch
	closed   bool

	wake    chan struct{}
	written sync.WaitGroup
}

// batch is the changes of one transaction.
type batch struct {
	machines map[string]*Machine
	done     chan struct{} // closed when written
	err      error
}

func newBatch() *batch { return &batch{machines: map[string]*Machine{}, done: make(chan struct{})} }

func openStore(name string) (*store, error) {
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bbolt.ErrTimeout) {
		err = errors.New("in use by another server")
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	s := &store{db: db, machines: map[string]*Machine{}, next: newBatch(), wake: make(chan struct{}, 1)}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", name, err), db.Close())
	}
	s.written.Go(s.write)
	return s, nil
}

func (s *store) load() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(machinesBucket)
		if err != nil {
			return err
		}
		return bucket.ForEach(func(id, text []byte) error {
			m := new(Machine)
			if err := json.Unmarshal(text, m); err != nil {
				return fmt.Errorf("machine %q: %w", id, err)
			}
			s.machines[string(id)] = m
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
	s.machines[id] = m
	b := s.next
	b.machines[id] = m
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-b.done:
		return m, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// write writes batches until the store is closed. What comes in while one is
// being written is the next.
func (s *store) write() {
	for range s.wake {
		s.flush()
	}
	s.flush()
}

func (s *store) flush() {
	s.mu.Lock()
	b := s.next
	s.next = newBatch()
	s.mu.Unlock()
	if len(b.machines) == 0 {
		return
	}
	b.err = s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(machinesBucket)
		for id, m := range b.machines {
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if err := bucket.Put([]byte(id), text); err != nil {
				return err
			}
		}
		return nil
	})
	if b.err != nil {
		s.retry(b)
	}
	close(b.done)
}

// retry puts what could not be written into the next batch, unless it has
// newer.
func (s *store) retry(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range b.machines {
		if s.next.machines[id] == nil {
			s.next.machines[id] = m
		}
	}
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

// check says whether the file can be written.
func (s *store) check() error {
	return s.db.Update(func(*bbolt.Tx) error { return nil })
}

// close writes what is left and lets go of the file.
func (s *store) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.wake)
	s.written.Wait()
	return s.db.Close()
}
