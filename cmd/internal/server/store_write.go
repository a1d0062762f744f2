package server

import (
	"encoding/json"

	"go.etcd.io/bbolt"
)

// write writes batches until the store is closed. What comes in while one is
// being written is the next.
func (s *store) write() {
	for {
		select {
		case <-s.wake:
			s.flush()
		case <-s.stop:
			s.flush()
			return
		}
	}
}

func (s *store) flush() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	b := s.next
	s.next = newBatch()
	s.mu.Unlock()
	if len(b.machines) == 0 && len(b.records) == 0 {
		close(b.done)
		return
	}
	b.err = s.db.Update(b.writeTo)
	s.mu.Lock()
	if s.failure = b.err; b.err != nil {
		s.retry(b)
	}
	s.mu.Unlock()
	close(b.done)
}

func (b *batch) writeTo(tx *bbolt.Tx) error {
	for id, m := range b.machines {
		var text []byte
		if m != nil {
			var err error
			if text, err = json.Marshal(m); err != nil {
				return err
			}
		}
		if err := set(tx, record{machinesBucket, id}, text); err != nil {
			return err
		}
	}
	for r, text := range b.records {
		if err := set(tx, r, text); err != nil {
			return err
		}
	}
	return nil
}

func set(tx *bbolt.Tx, r record, text []byte) error {
	bucket := tx.Bucket([]byte(r.bucket))
	if text == nil {
		return bucket.Delete([]byte(r.key))
	}
	return bucket.Put([]byte(r.key), text)
}

// retry puts what could not be written into the next batch, unless that has
// newer. The store is locked.
func (s *store) retry(b *batch) {
	for id, m := range b.machines {
		if _, newer := s.next.machines[id]; !newer {
			s.next.machines[id] = m
		}
	}
	for r, text := range b.records {
		if _, newer := s.next.records[r]; !newer {
			s.next.records[r] = text
		}
	}
}

// check says whether the file can be written. It writes only if the last
// attempt failed.
func (s *store) check() error {
	s.mu.Lock()
	err := s.failure
	s.mu.Unlock()
	if err == nil {
		return nil
	}
	s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}
