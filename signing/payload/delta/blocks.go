package delta

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"

	"slipway/signing/payload"
)

// sum stands for the content of a block.
type sum [16]byte

// blockIndex knows the blocks of an image by their content.
type blockIndex struct {
	sums  []sum
	first map[sum]uint32
	zero  sum
}

func indexBlocks(ctx context.Context, r io.ReaderAt, size int64) (*blockIndex, error) {
	sums, err := sumBlocks(ctx, r, size)
	if err != nil {
		return nil, err
	}
	x := &blockIndex{sums: sums, first: make(map[sum]uint32, len(sums)), zero: sumOf(make([]byte, block))}
	for i, s := range sums {
		if _, ok := x.first[s]; !ok && s != x.zero {
			x.first[s] = uint32(i)
		}
	}
	return x, nil
}

func sumOf(b []byte) sum {
	full := sha256.Sum256(b)
	return sum(full[:16])
}

// sumBlocks gives the sums of all blocks of an image.
func sumBlocks(ctx context.Context, r io.ReaderAt, size int64) ([]sum, error) {
	const part = 256 // blocks read at once
	sums := make([]sum, size/block)
	zeros := make([]byte, block)
	zero := sumOf(zeros)
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := 0
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			buf := make([]byte, part*block)
			for {
				mu.Lock()
				at := next
				next += part
				if failed == nil {
					failed = ctx.Err()
				}
				stop := failed != nil || at >= len(sums)
				mu.Unlock()
				if stop {
					return
				}
				n := min(part, len(sums)-at)
				if got, err := r.ReadAt(buf[:n*block], int64(at)*block); got < n*block {
					mu.Lock()
					failed = fmt.Errorf("read at %d: %w", int64(at)*block+int64(got), err)
					mu.Unlock()
					return
				}
				for i := range n {
					b := buf[i*block : (i+1)*block]
					if sums[at+i] = zero; string(b) != string(zeros) {
						sums[at+i] = sumOf(b)
					}
				}
			}
		})
	}
	group.Wait()
	return sums, failed
}

// run is a run of new blocks that come about in the same way.
type run struct {
	kind payload.Type // SourceCopy, Zero, or Patch for changed
	dst  payload.Extent
	src  uint64 // first old block of a SourceCopy
}

// classify divides the new image into runs. Unchanged blocks in between
// changed ones stay with those: a patch copies them at less cost than two
// operations and an interruption.
func (p *planner) classify(ctx context.Context) ([]run, error) {
	sums, err := sumBlocks(ctx, p.New, p.NewSize)
	if err != nil {
		return nil, err
	}
	skip := make([]bool, len(sums))
	for _, e := range p.Skip {
		if e.Start > uint64(len(sums)) || e.Blocks > uint64(len(sums))-e.Start {
			return nil, fmt.Errorf("nothing to skip at block %d+%d", e.Start, e.Blocks)
		}
		for i := range e.Blocks {
			skip[e.Start+i] = true
		}
	}
	var runs []run
	last := uint64(0) // the old block that would go on with a run
	for i, s := range sums {
		if skip[i] {
			last = 0
			continue
		}
		r := run{kind: payload.Patch, dst: payload.Extent{Start: uint64(i), Blocks: 1}}
		if s == p.oldBlocks.zero {
			r.kind = payload.Zero
		} else if last > 0 && last < uint64(len(p.oldBlocks.sums)) && p.oldBlocks.sums[last] == s {
			r.kind, r.src = payload.SourceCopy, last
		} else if old, ok := p.oldBlocks.first[s]; ok {
			r.kind, r.src = payload.SourceCopy, uint64(old)
		}
		last = r.src + 1
		if n := len(runs) - 1; n >= 0 && runs[n].goesOn(r) {
			runs[n].dst.Blocks++
		} else {
			runs = append(runs, r)
		}
	}
	return absorb(runs), nil
}

func (r run) goesOn(next run) bool {
	return r.kind == next.kind && r.dst.Start+r.dst.Blocks == next.dst.Start &&
		(r.kind != payload.SourceCopy || r.src+r.dst.Blocks == next.src)
}

// absorb makes short runs next to changed ones part of those.
func absorb(runs []run) []run {
	var kept []run
	for i, r := range runs {
		short := r.kind == payload.SourceCopy && r.dst.Blocks < minCopy ||
			r.kind == payload.Zero && r.dst.Blocks < minZero
		if short {
			before := len(kept) > 0 && kept[len(kept)-1].kind == payload.Patch &&
				kept[len(kept)-1].dst.Start+kept[len(kept)-1].dst.Blocks == r.dst.Start
			after := i+1 < len(runs) && runs[i+1].kind == payload.Patch &&
				r.dst.Start+r.dst.Blocks == runs[i+1].dst.Start
			if before || after {
				r.kind = payload.Patch
			}
		}
		if n := len(kept) - 1; n >= 0 && kept[n].kind == payload.Patch && kept[n].goesOn(r) {
			kept[n].dst.Blocks += r.dst.Blocks
		} else {
			kept = append(kept, r)
		}
	}
	return kept
}
