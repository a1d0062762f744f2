package payload

import (
	"context"
	"fmt"
	"slices"
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
	workers int

	mu      sync.Mutex
	changed *sync.Cond // of what is below, under mu
	used    int64      // of the budget
	jobs    []int      // indexes of operations reserved and not done, in order
	running int
	idle    []*worker
	free    [][]byte
	behind  bool  // something of after is in work
	failed  int   // lowest index of an operation that failed
	err     error // of that one
	group   sync.WaitGroup
}

func newCrew(workers int, run func(*worker, *Operation, []byte) error) *crew {
	c := &crew{run: run, workers: workers}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// reserve waits until there is room for an operation, and gives it its buffer.
func (c *crew) reserve(ctx context.Context, index int, op *Operation) (*job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.jobs) > 0 && c.used+op.cost() > budget {
		c.changed.Wait()
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.jobs = append(c.jobs, index)
	c.used += op.cost()
	return &job{index, op, c.take(int(op.DataSize))}, nil
}

// take gives a buffer: the smallest free one that is large enough, else a new
// one. One that is too small goes then, or they would add up.
func (c *crew) take(n int) []byte {
	best := -1
	for i, b := range c.free {
		if cap(b) >= n && (best < 0 || cap(b) < cap(c.free[best])) {
			best = i
		}
	}
	if best >= 0 {
		b := c.free[best]
		c.free = slices.Delete(c.free, best, best+1)
		return b[:n]
	}
	if len(c.free) > 0 {
		c.free = slices.Delete(c.free, 0, 1)
	}
	// Rounded up, so that soon all are large enough for most.
	const step = 1 << 20
	return make([]byte, n, (n+step-1)/step*step)
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
		if cap(j.data) > 0 {
			c.free = append(c.free, j.data)
		}
		c.jobs = slices.DeleteFunc(c.jobs, func(i int) bool { return i == j.index })
		c.running--
		c.used -= j.op.cost()
		if err != nil && (c.err == nil || j.index < c.failed) {
			c.failed, c.err = j.index, fmt.Errorf("payload operation %d (%s): %w", j.index, j.op.Type, err)
		}
		c.changed.Broadcast()
	})
}

// isBehind says that something of after is still in work.
func (c *crew) isBehind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.behind
}

// after runs something in the background once all operations before index are
// done, one such thing at a time. If it fails, nothing more is started.
func (c *crew) after(index int, run func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.behind {
		c.changed.Wait()
	}
	if c.err != nil {
		return
	}
	c.behind = true
	c.group.Go(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for c.err == nil && len(c.jobs) > 0 && c.jobs[0] < index {
			c.changed.Wait()
		}
		if c.err == nil {
			c.mu.Unlock()
			err := run()
			c.mu.Lock()
			if err != nil && c.err == nil {
				c.failed, c.err = index, err
			}
		}
		c.behind = false
		c.changed.Broadcast()
	})
}

// wait returns once nothing is in work any more: with the error of the first
// operation that failed, or else err. A job that was reserved is not waited for.
func (c *crew) wait(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 || c.behind {
		c.changed.Wait()
	}
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
