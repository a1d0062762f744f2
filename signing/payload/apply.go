package payload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// Target is the partition that is written. Writes come from several goroutines
// to places that do not overlap. A target with a method
// ZeroAt(offset, size int64) error makes zeros by it.
type Target interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns once everything written before would survive a power cut.
	Sync() error
}

// ApplyOptions says what Apply applies a payload to.
type ApplyOptions struct {
	Keys       []Key
	Target     Target
	TargetSize int64       // bytes, exactly what the payload is for
	Source     io.ReaderAt // of a delta payload; else not used
	SourceSize int64

	// Accept, if set, is called once the metadata has been verified and before
	// anything is written; an error ends Apply. Metadata.Bytes may be kept for
	// the day the payload is resumed.
	Accept func(*Metadata) error
	// HashTree makes a hash tree; see [HashTree]. data and tree are the two
	// areas of the target, each from 0.
	HashTree func(ctx context.Context, data io.ReaderAt, dataSize int64, salt []byte, tree io.WriterAt) error
	// Patch writes what a patch makes out of old, newSize bytes.
	Patch func(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error

	// Checkpoint, if set, is called each time that CheckpointEvery bytes of
	// the payload have been written and synced (about 1/128 of the payload if
	// not set), less often if the disk is slower than the stream, though with
	// no more than four times that and one operation in between, and when the
	// payload is cut. It is called by another goroutine, once at a time. An
	// error ends Apply.
	Checkpoint      func(*Checkpoint) error
	CheckpointEvery int64
	// Resume goes on after a checkpoint; see [Apply].
	Resume *Checkpoint
	// ReadBack, if set, reads the target past any cache, for the last check.
	ReadBack io.ReaderAt
	// Progress, if set, is called with the bytes of the payload read so far.
	Progress func(done, total int64)
	// Workers is how many operations are in work at once; as many as there are
	// processors if not set.
	Workers int
}

// Apply writes a payload to the target, from a stream, in its order. Only when
// it returns without an error is the target what the payload promises: every
// block of it was read back and is part of the signed digest, and the payload
// was signed as a whole.
//
// No byte of the manifest is looked at before its signature has been verified,
// no data used before its digest, no patch applied before the digest of its
// source; no write leaves the target. Memory is bounded by the manifest and
// 32 MiB, or the largest operation if that is more.
//
// If the payload is cut, the error wraps a *CutError; every error but one of
// Accept's is an *ApplyError. To resume, give the last
// checkpoint, and a stream that has Metadata.Bytes first and then goes on with
// the payload at Checkpoint.Offset.
func Apply(ctx context.Context, r io.Reader, o *ApplyOptions) (*Metadata, error) {
	m, err := ReadMetadata(contextReader{ctx, r}, o.Keys)
	if err != nil {
		return nil, &ApplyError{AtMetadata, err}
	}
	a := &applier{ApplyOptions: o, m: m, s: newStream(contextReader{ctx, r}, m), back: newReadBack(m.Manifest, o)}
	if err := a.fits(); err != nil {
		return nil, &ApplyError{AtMetadata, err}
	}
	if o.Accept != nil {
		if err := o.Accept(m); err != nil {
			return nil, err
		}
	}
	if o.Resume != nil {
		if err := a.resume(o.Resume); err != nil {
			return nil, &ApplyError{AtMetadata, err}
		}
	}
	if err := a.operations(ctx); err != nil {
		return nil, &ApplyError{AtOperations, err}
	}
	if err := a.vouched(); err != nil {
		return nil, &ApplyError{AtSignature, err}
	}
	if err := a.finish(ctx); err != nil {
		return nil, &ApplyError{AtTarget, err}
	}
	return m, nil
}

// maxUnsynced is after how many bytes written the disk is set to work, even if
// little of the payload has come.
const maxUnsynced = 64 << 20

// maxBehind is how many times its usual share of the payload one checkpoint may
// take on if the disk is slow. As much may have come once more while it is
// stored.
const maxBehind = 4

// applier is one run of Apply.
type applier struct {
	*ApplyOptions
	m       *Metadata
	s       *stream
	next    int    // operation to read
	partial []byte // of its data, from a checkpoint
	back    *readBack
}

// fits says whether the payload is for these partitions at all.
func (a *applier) fits() error {
	m := a.m.Manifest
	switch {
	case m.New.Size != a.TargetSize:
		return fmt.Errorf("payload: for a partition of %d bytes, the target holds %d", m.New.Size, a.TargetSize)
	case m.Delta() && a.Source == nil:
		return errors.New("payload: a delta, and there is no source")
	case m.Delta() && m.Old.Size != a.SourceSize:
		return fmt.Errorf("payload: for a source of %d bytes, this one holds %d", m.Old.Size, a.SourceSize)
	case m.HashTree != nil && a.HashTree == nil:
		return errors.New("internal error: payload: no function for hash trees")
	}
	for i := range m.Operations {
		if m.Operations[i].Type == Patch && a.Patch == nil {
			return errors.New("internal error: payload: no function for patches")
		}
	}
	return nil
}

// operations reads and runs the operations. Several run at once; the stream is
// read by one goroutine only.
func (a *applier) operations(ctx context.Context) error {
	workers := a.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	c := newCrew(workers, a.run)
	defer c.close()
	ops := a.m.Manifest.Operations
	every := a.CheckpointEvery
	if every <= 0 {
		every = a.m.PayloadSize() / 128
	}
	saved, unsynced := a.s.offset, int64(0)
	for ; a.next < len(ops); a.next++ {
		op := &ops[a.next]
		// The disk is waited for while the next operations are in work. If it
		// is slower than the stream, checkpoints become fewer, for a disk that
		// many use takes long to sync; but the stream waits for it before too
		// much would have to come again.
		ahead := a.s.offset - saved
		if due := ahead >= every || unsynced >= maxUnsynced; due && (ahead >= maxBehind*every || !c.isBehind()) {
			point, err := a.checkpoint(nil)
			if err != nil {
				return c.wait(err)
			}
			c.after(a.next, func() error {
				if err := a.store(point); err != nil {
					return err
				}
				return a.back.upTo(ctx, point.Operation)
			})
			saved, unsynced = a.s.offset, 0
		}
		unsynced += op.DstSize()
		j, err := c.reserve(ctx, a.next, op)
		if err != nil {
			return c.wait(err)
		}
		have := copy(j.data, a.partial)
		a.partial = nil
		start := a.s.offset - int64(have)
		if err := a.s.data(j.data, have); err != nil {
			return a.cut(c, err, j.data[:a.s.offset-start])
		}
		c.start(j)
		if a.Progress != nil {
			a.Progress(a.s.offset, a.m.PayloadSize())
		}
	}
	return c.wait(nil)
}

// cut ends a run whose stream has ended: what has come is kept.
func (a *applier) cut(c *crew, err error, partial []byte) error {
	if err2 := c.wait(nil); err2 != nil {
		return err2
	}
	return a.storeCut(err, partial)
}

// run does one operation. Data that is not what was signed is not used.
func (a *applier) run(w *worker, op *Operation, data []byte) error {
	if err := op.checkData(data); err != nil {
		return err
	}
	switch op.Type {
	case Replace:
		return a.write(op, data)
	case ReplaceZstd:
		content, err := w.unpack(data, int(op.DstSize()))
		if err != nil {
			return err
		}
		return a.write(op, content)
	case Zero:
		return a.zero(w, op)
	case SourceCopy:
		return a.copy(w, op)
	case Patch:
		return a.patch(w, op, data)
	}
	return fmt.Errorf("internal error: %s", op.Type)
}

func (a *applier) write(op *Operation, content []byte) error {
	_, err := (&extentWriter{w: a.Target, extents: op.Dst}).Write(content)
	return err
}

// vouched checks that the payload as a whole is what was signed.
func (a *applier) vouched() error {
	digest := a.s.sum()
	signatures, err := a.s.signatures()
	if err != nil {
		if _, ok := errors.AsType[*CutError](err); ok {
			return a.storeCut(err, nil)
		}
		return err
	}
	_, err = verify("payload", digest, signatures, a.Keys)
	return err
}

// finish makes the hash tree, and compares the target with what was signed.
func (a *applier) finish(ctx context.Context) error {
	m := a.m.Manifest
	if t := m.HashTree; t != nil {
		if err := a.hashTree(ctx, t); err != nil {
			return fmt.Errorf("payload: hash tree: %w", err)
		}
	}
	if err := a.Target.Sync(); err != nil {
		return fmt.Errorf("sync target: %w", err)
	}
	if err := a.back.upTo(ctx, len(m.Operations)); err != nil {
		return err
	}
	if got := a.back.h.Sum(nil); !bytes.Equal(got, m.New.SHA256[:]) {
		return fmt.Errorf("target: its digest is %x, should be %x: the disk did not keep what was written, "+
			"or writes were lost before this run resumed", got, m.New.SHA256)
	}
	return nil
}

func (a *applier) hashTree(ctx context.Context, t *HashTree) error {
	data := newExtentReader(a.Target, []Extent{t.Data})
	return a.HashTree(ctx, data, data.size(), t.Salt, &area{a.Target, t.Tree})
}

// area lets writes through to one extent, from 0, and no others.
type area struct {
	w io.WriterAt
	e Extent
}

func (x *area) WriteAt(b []byte, off int64) (int, error) {
	size := int64(x.e.Blocks) * BlockSize
	if off < 0 || off > size || int64(len(b)) > size-off {
		return 0, fmt.Errorf("write of %d bytes at %d of an area of %d", len(b), off, size)
	}
	return x.w.WriteAt(b, int64(x.e.Start)*BlockSize+off)
}
