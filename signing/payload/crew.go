package payload

import (
	"context"
	"fmt"
	"sync"
)

// budget bounds what operations in work at one time take together, in bytes.
// One that takes more runs alone.
const budget = 32 << 20

// patchCost is what a patch takes beside its data, in bytes.
const patchCost = 16 << 20

// cost is the memory an operation takes, in bytes.
func (o *Operation) cost() int64 {
	n := o.DataSize
	switch o.Type {
	case ReplaceZstd:
		n += o.DstSize()
	case Patch:
		n += patchCost
	}
	return min(n, budget)
}

// job is one operation in work.
type job struct {
	index int
	op    *Operation
	data  []byte
}

// worker is what one goroutine at a time works with.
type worker struct {
	unpacker
	buf []byte
}

// buffer gives copySize bytes of any content.
func (w *worker) buffer() []byte {
	w.buf = grow(w.buf, copySize)
	return w.buf
}

// crew runs operations, several at once. Its methods are for one goroutine.
type crew struct {
	run     func(*worker, *Operation, []byte) error
	cancel  context.CancelFunc // of the one who reads: an operation went wrong
	workers int

	mu      sync.Mutex
	changed *sync.Cond // of what is below, under mu
	used    int64      // of the budget
	jobs    int        // reserved and not done
	running int
	idle    []*worker
	free    [][]byte
	failed  int   // lowest index of an operation that failed
	err     error // of that one
	group   sync.WaitGroup
}

// reserve waits until there is room for an operation, and gives it its buffer.
func (c *crew) reserve(ctx context.Context, index int, op *Operation) (*job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = sync.NewCond(&c.mu)
	}
	for c.err == nil && c.jobs > 0 && c.used+op.cost() > budget {
		c.changed.Wait()
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.jobs++
	c.used += op.cost()
	return &job{index, op, c.take(int(op.DataSize))}, nil
}

// take gives a buffer, a used one if there is one large enough. Too small ones
// are dropped, or they would add up.
func (c *crew) take(n int) []byte {
	for len(c.free) > 0 {
		b := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		if cap(b) >= n {
			return b[:n]
		}
	}
	return make([]byte, n)
}

// start runs a job in the background as soon as a worker is free, unless
// another has failed until then.
func (c *crew) start(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.running == c.workers {
		c.changed.Wait()
	}
	if c.err != nil {
		return
	}
	w := new(worker)
	if n := len(c.idle); n > 0 {
		w, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.running++
	c.group.Go(func() {
		err := c.run(w, j.op, j.data)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle = append(c.idle, w)
		c.free = append(c.free, j.data)
		c.jobs--
		c.running--
		c.used -= j.op.cost()
		if err != nil && (c.err == nil || j.index < c.failed) {
			c.failed, c.err = j.index, fmt.Errorf("payload operation %d (%s): %w", j.index, j.op.Type, err)
			c.cancel()
		}
		c.changed.Broadcast()
	})
}

// wait returns once nothing is in work any more: with the error of the first
// operation that failed, or else err.
func (c *crew) wait(err error) error {
	c.group.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

func (c *crew) close() {
	c.group.Wait()
	for _, w := range c.idle {
		w.close()
	}
}
