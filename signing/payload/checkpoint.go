package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Checkpoint is where Apply can go on after it was interrupted. The target must
// not have been changed since. Nothing in it is trusted: with a wrong one,
// Apply fails in the end. It is made to be stored as JSON.
type Checkpoint struct {
	Metadata  string `json:"metadata"`  // SHA-256 of Metadata.Bytes, hex
	Operation int    `json:"operation"` // the first that is not done
	Offset    int64  `json:"offset"`    // in the payload, to go on at
	Digest    []byte `json:"digest"`    // state of the payload's SHA-256
	// Partial is what has come of the operation's data, at most MaxData bytes;
	// only when the payload was cut.
	Partial []byte `json:"partial,omitempty"`
}

// checkpoint says where the operations before a.next end.
func (a *applier) checkpoint(partial []byte) (*Checkpoint, error) {
	state, err := a.s.state()
	if err != nil {
		return nil, err
	}
	return &Checkpoint{
		Metadata: a.metadataID(), Operation: a.next, Digest: state,
		Offset: a.dataOffset(a.next) + int64(len(partial)), Partial: partial,
	}, nil
}

// store hands out a checkpoint once what it says is on the disk. All operations
// before it have been written.
func (a *applier) store(c *Checkpoint) error {
	if err := a.Target.Sync(); err != nil {
		return fmt.Errorf("sync target: %w", err)
	}
	if a.Checkpoint == nil {
		return nil
	}
	return a.Checkpoint(c)
}

// storeCut hands out a last checkpoint because of err.
func (a *applier) storeCut(err error, partial []byte) error {
	if a.Checkpoint == nil {
		return err
	}
	c, err2 := a.checkpoint(partial)
	if err2 == nil {
		err2 = a.store(c)
	}
	if err2 != nil {
		return err2
	}
	return err
}

// dataOffset is where the data of an operation begins in the payload, or where
// it would if it had any.
func (a *applier) dataOffset(operation int) int64 {
	m := a.m.Manifest
	for _, op := range m.Operations[operation:] {
		if op.DataSize > 0 {
			return a.m.Size() + op.DataOffset
		}
	}
	return a.m.Size() + m.SignaturesOffset
}

func (a *applier) metadataID() string {
	sum := sha256.Sum256(a.m.Bytes)
	return hex.EncodeToString(sum[:])
}

// ErrCheckpoint says that a checkpoint is not of this payload, or makes no
// sense: start from the beginning.
var ErrCheckpoint = errors.New("checkpoint: not one of this payload")

func (a *applier) resume(c *Checkpoint) error {
	ops := a.m.Manifest.Operations
	if c.Metadata != a.metadataID() || c.Operation < 0 || c.Operation > len(ops) {
		return ErrCheckpoint
	}
	room := int64(0)
	if c.Operation < len(ops) {
		room = ops[c.Operation].DataSize
	}
	partial := int64(len(c.Partial))
	if partial > room || c.Offset != a.dataOffset(c.Operation)+partial {
		return ErrCheckpoint
	}
	if err := a.s.load(c.Digest); err != nil {
		return ErrCheckpoint
	}
	a.next, a.partial, a.s.offset = c.Operation, c.Partial, c.Offset
	return nil
}
