// Package lock is the lock that machines of a group take in etcd before they
// restart, so that never more than so many are down at once. It keeps CoreOS
// locksmith's document under CoreOS locksmith's key, now in etcd's API v3:
//
//	coreos.com/updateengine/rebootlock/semaphore                 the lock
//	coreos.com/updateengine/rebootlock/machines/ID               a machine that is there
//	coreos.com/updateengine/rebootlock/groups/GROUP/semaphore    the same for a group
//	coreos.com/updateengine/rebootlock/groups/GROUP/machines/ID
//
// The lock is a JSON object, of which the first three members are CoreOS's:
//
//	{"semaphore": 0, "max": 1, "holders": ["ID"],
//	 "details": {"ID": {"state": "restarting", "since": "...", ...}}}
//
// Semaphore is a value and its changes are pure; Store makes them in etcd, each
// as one transaction that compares the revision that was read. Reads are
// linearizable. The package does not restart anything and does not decide when a
// lock is given back: see package coordinator.
package lock

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	maxDocument = 1 << 20 // bytes, less than what etcd takes
	maxID       = 128     // bytes
)

// ErrNotHolder says that who gives the lock back does not have it.
var ErrNotHolder = errors.New("holder does not exist")

// FullError says that as many as may have the lock have it.
type FullError struct{ Semaphore int }

// Error is CoreOS's text.
func (e *FullError) Error() string { return fmt.Sprintf("semaphore is at %d", e.Semaphore) }

// HaltedError says that a machine did not get to the version that another one
// wants to go to.
type HaltedError struct {
	Holder string
	Reason string
}

func (e *HaltedError) Error() string { return fmt.Sprintf("halted by %s: %s", e.Holder, e.Reason) }

// Semaphore is the lock. The zero value lets nobody have it: see New.
type Semaphore struct {
	// Max is how many may have it at once.
	Max int
	// holders are those who have it, with what they say about that; nil of one
	// who took it by a program that says nothing, such as CoreOS's.
	holders map[string]*Record
}

// document is a Semaphore as JSON.
type document struct {
	Semaphore int                `json:"semaphore"`
	Max       int                `json:"max"`
	Holders   []string           `json:"holders"`
	Details   map[string]*Record `json:"details,omitempty"`
}

// New is a lock nobody has and one may.
func New() *Semaphore { return &Semaphore{Max: 1, holders: map[string]*Record{}} }

// Parse reads a lock. What follows from its holders is computed again, so that a
// document changed by hand cannot let too many restart.
func Parse(text []byte) (*Semaphore, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("lock: %d bytes, at most %d are read", len(text), maxDocument)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("lock: malformed: %w", err)
	}
	s := &Semaphore{Max: d.Max, holders: make(map[string]*Record, len(d.Holders))}
	for _, id := range d.Holders {
		if err := checkID(id); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		s.holders[id] = d.Details[id]
	}
	return s, nil
}

// MarshalJSON writes the document.
func (s *Semaphore) MarshalJSON() ([]byte, error) {
	d := document{Semaphore: s.Available(), Max: s.Max, Holders: s.Holders(), Details: map[string]*Record{}}
	for id, r := range s.holders {
		if r != nil {
			d.Details[id] = r
		}
	}
	return json.Marshal(d)
}

// checkID takes what a machine id can be, and names that people give.
func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("holder of %d bytes, want 1 to %d", len(id), maxID)
	}
	for _, r := range id {
		if r <= ' ' || r > '~' || r == '/' {
			return fmt.Errorf("holder %q: want visible ASCII characters without a slash", id)
		}
	}
	return nil
}

// Available is how many more may take the lock; negative after Max was lowered
// below the number of holders.
func (s *Semaphore) Available() int { return s.Max - len(s.holders) }

// Holders are the ids of those who have it, in byte order.
func (s *Semaphore) Holders() []string {
	if len(s.holders) == 0 {
		return []string{}
	}
	return slices.Sorted(maps.Keys(s.holders))
}

// Holder is what a holder says; ok is false if it is none. A holder of a foreign
// program says nothing but that it restarts.
func (s *Semaphore) Holder(id string) (r Record, ok bool) {
	kept, ok := s.holders[id]
	if kept == nil {
		return Record{State: Restarting}, ok
	}
	return *kept, ok
}

// halted says whether a holder failed at what a machine is about to do. A
// person who takes the lock is not stopped.
func (s *Semaphore) halted(id string, r *Record) error {
	if r.State == Manual {
		return nil
	}
	for _, other := range s.Holders() {
		h, _ := s.Holder(other)
		if other != id && h.State == Failed && (r.To == "" || h.To == "" || r.To == h.To) {
			return &HaltedError{other, h.Reason}
		}
	}
	return nil
}

// Lock makes id a holder, unless as many as may have it do, or one of them
// failed on the way to the same version. One who has the lock already keeps it, from the same
// time on, and says something else about it, however many have it.
func (s *Semaphore) Lock(id string, r Record) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := s.halted(id, &r); err != nil {
		return err
	}
	old, held := s.holders[id]
	switch {
	case !held && s.Available() <= 0:
		return &FullError{s.Available()}
	case held && old != nil:
		r.follow(old)
	}
	s.holders[id] = &r
	return nil
}

// Release undoes Lock: who was a holder before that is what it was then.
func (s *Semaphore) Release(id string) error {
	if r, held := s.holders[id]; held && r != nil && r.Before != nil {
		s.holders[id] = r.Before
		return nil
	}
	return s.Unlock(id)
}

// Amend has a holder say something else, or is ErrNotHolder.
func (s *Semaphore) Amend(id string, r Record) error {
	if _, held := s.holders[id]; !held {
		return ErrNotHolder
	}
	s.holders[id] = &r
	return nil
}

// Unlock takes the lock from a holder, or is ErrNotHolder.
func (s *Semaphore) Unlock(id string) error {
	if _, held := s.holders[id]; !held {
		return ErrNotHolder
	}
	delete(s.holders, id)
	return nil
}
