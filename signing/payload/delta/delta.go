// Package delta plans update payloads that lead from one slot image to
// another: which blocks of the new image are blocks of the old one, wherever
// they were, and for the rest which old blocks to make a patch from.
//
// Files say where related blocks are: those of a file at the same path, else
// of one whose path differs in version numbers only, else of one with similar
// content. Blocks in no file are those of the file system's own structures,
// and are patched likewise. The plan is right whatever the files say; they
// only make it small.
//
// The package reads images and knows no file system: who calls it lists the
// files. How patches are made is package signing/payload/patch's.
package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"slipway/signing/payload"
	"slipway/signing/payload/patch"
)

// File is a run of bytes of an image that belongs to one file.
type File struct {
	Path        string
	Start, Size int64 // bytes; Start is a multiple of payload.BlockSize
}

// Options says between which images to plan.
type Options struct {
	Old, New         io.ReaderAt
	OldSize, NewSize int64 // bytes, multiples of payload.BlockSize

	// OldFiles and NewFiles list the files of the images, in any order. What
	// they leave out is found all the same if it has not changed.
	OldFiles, NewFiles []File

	// Skip is left out of the plan, such as the hash tree that whoever applies
	// the payload makes himself.
	Skip []payload.Extent

	// Compress packs what has no counterpart in the old image.
	Compress payload.Compressor
	// Workers is how many operations are made at once; one for each processor
	// if not set, as far as memory permits. The plan does not depend on it.
	Workers int
}

const (
	block = payload.BlockSize

	// maxPatch is how many bytes one patch writes. Larger ones would be a
	// little smaller in sum; making one takes five times its size in memory.
	maxPatch = 32 << 20
	// maxCopy is how many bytes one copying operation writes.
	maxCopy = 16 << 20
	// maxReplace is how many bytes one replacing operation writes.
	maxReplace = 4 << 20
	// minCopy is the shortest run of unchanged blocks that interrupts a patch.
	minCopy = 8
	// minZero is the shortest run of zero blocks that does.
	minZero = 4
)

// Plan plans the payload. Operations come in the order of the first block that
// they write.
func Plan(ctx context.Context, o *Options) payload.Plan {
	return func(yield func(payload.Operation, error) bool) {
		p := &planner{Options: o, known: map[string][]cut{}}
		if err := p.prepare(ctx); err != nil {
			yield(payload.Operation{}, fmt.Errorf("delta: %w", err))
			return
		}
		p.run(ctx, yield)
	}
}

// planner is one run of Plan.
type planner struct {
	*Options
	oldBlocks *blockIndex
	pairs     *pairing
	known     map[string][]cut // by path: see cuts
	tasks     []task           // in the order of their first destination block
}

// task is an operation to be made, or several.
type task struct {
	kind     payload.Type
	src, dst []payload.Extent
	packed   bool // has frames: see packed
}

func (p *planner) prepare(ctx context.Context) error {
	if p.OldSize%block != 0 || p.NewSize%block != 0 || p.OldSize <= 0 || p.NewSize <= 0 {
		return fmt.Errorf("images of %d and %d bytes, want multiples of %d", p.OldSize, p.NewSize, block)
	}
	var err error
	if p.oldBlocks, err = indexBlocks(ctx, p.Old, p.OldSize); err != nil {
		return fmt.Errorf("old image: %w", err)
	}
	runs, err := p.classify(ctx)
	if err != nil {
		return fmt.Errorf("new image: %w", err)
	}
	if p.pairs, err = newPairing(p.Options); err != nil {
		return err
	}
	return p.group(runs)
}

// group makes tasks out of runs.
func (p *planner) group(runs []run) error {
	var copies task
	changed := newGroups()
	for _, r := range runs {
		switch r.kind {
		case payload.Zero:
			p.tasks = append(p.tasks, task{kind: payload.Zero, dst: []payload.Extent{r.dst}})
		case payload.SourceCopy:
			for r.dst.Blocks > 0 {
				n := min(r.dst.Blocks, maxCopy/block-blocksOf(copies.dst))
				copies.kind = payload.SourceCopy
				copies.dst = appendExtent(copies.dst, payload.Extent{Start: r.dst.Start, Blocks: n})
				copies.src = appendExtent(copies.src, payload.Extent{Start: r.src, Blocks: n})
				r.dst.Start, r.dst.Blocks, r.src = r.dst.Start+n, r.dst.Blocks-n, r.src+n
				if blocksOf(copies.dst) == maxCopy/block {
					p.tasks = append(p.tasks, copies)
					copies = task{}
				}
			}
		default:
			if err := p.changed(changed, r.dst); err != nil {
				return err
			}
		}
	}
	if len(copies.dst) > 0 {
		p.tasks = append(p.tasks, copies)
	}
	p.tasks = append(p.tasks, changed.close()...)
	slices.SortStableFunc(p.tasks, func(a, b task) int { return int(a.dst[0].Start) - int(b.dst[0].Start) })
	return nil
}

// run makes the operations, several at once, and hands them on in order.
func (p *planner) run(ctx context.Context, yield func(payload.Operation, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	workers := p.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	type answer struct {
		ops []payload.Operation
		err error
	}
	answers := make([]chan answer, len(p.tasks))
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	gate := newGate(workers)
	group.Go(func() {
		for i := range p.tasks {
			t := &p.tasks[i]
			gate.enter(t.cost())
			group.Go(func() {
				defer gate.leave(t.cost())
				if ctx.Err() != nil {
					answers[i] <- answer{err: ctx.Err()}
					return
				}
				ops, err := p.make(ctx, t)
				answers[i] <- answer{ops, err}
			})
		}
	})
	for i := range answers {
		a := <-answers[i]
		if a.err != nil {
			yield(payload.Operation{}, fmt.Errorf("delta: %w", a.err))
			return
		}
		for _, op := range a.ops {
			if !yield(op, nil) {
				return
			}
		}
	}
}

// make makes the operations of a task.
func (p *planner) make(ctx context.Context, t *task) ([]payload.Operation, error) {
	op := payload.Operation{Type: t.kind, Src: t.src, Dst: t.dst}
	switch t.kind {
	case payload.Zero:
		return []payload.Operation{op}, nil
	case payload.SourceCopy:
		h := sha256.New()
		if err := readExtents(h, p.Old, t.src); err != nil {
			return nil, fmt.Errorf("old image: %w", err)
		}
		op.SrcSHA256 = [32]byte(h.Sum(nil))
		return []payload.Operation{op}, nil
	case payload.Patch:
		return p.patch(ctx, op)
	}
	return p.replace(ctx, t.dst)
}

// patch makes a patch, unless the data compressed by itself is smaller.
func (p *planner) patch(ctx context.Context, op payload.Operation) ([]payload.Operation, error) {
	var old, fresh bytes.Buffer
	if err := readExtents(&old, p.Old, op.Src); err != nil {
		return nil, fmt.Errorf("old image: %w", err)
	}
	if err := readExtents(&fresh, p.New, op.Dst); err != nil {
		return nil, fmt.Errorf("new image: %w", err)
	}
	data, err := patch.Make(old.Bytes(), fresh.Bytes())
	if err != nil {
		return nil, err
	}
	op.SrcSHA256, op.Data = sha256.Sum256(old.Bytes()), data
	if len(data) > fresh.Len()/8 || len(data) > payload.MaxData {
		instead, err := p.replace(ctx, op.Dst)
		size := 0
		for _, r := range instead {
			size += len(r.Data)
		}
		if err != nil || size <= len(data) || len(data) > payload.MaxData {
			return instead, err
		}
	}
	return []payload.Operation{op}, nil
}

// replace makes operations that need no source.
func (p *planner) replace(ctx context.Context, dst []payload.Extent) ([]payload.Operation, error) {
	if p.Compress == nil {
		return nil, errors.New("internal error: no compressor")
	}
	var ops []payload.Operation
	for _, part := range split(dst, maxReplace/block) {
		var content bytes.Buffer
		if err := readExtents(&content, p.New, part); err != nil {
			return nil, fmt.Errorf("new image: %w", err)
		}
		packed, err := p.Compress(ctx, content.Bytes())
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		op := payload.Operation{Type: payload.ReplaceZstd, Dst: part, Data: packed}
		if len(packed) >= content.Len() {
			op.Type, op.Data = payload.Replace, content.Bytes()
		}
		ops = append(ops, op)
	}
	return ops, nil
}
