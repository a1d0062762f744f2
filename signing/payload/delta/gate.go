package delta

import "sync"

// maxWork bounds the memory that patches being made take together, in bytes,
// unless one takes more alone.
const maxWork = 640 << 20

// cost estimates the memory that a task takes while it is made, in bytes: a
// patch takes the old data, its suffix array in two forms, and the new data.
// What frames unpack to is about five times as large as they are.
func (t *task) cost() int64 {
	n := int64(blocksOf(t.src)*10+blocksOf(t.dst)*2) * block
	if t.packed {
		n *= 5
	}
	return n
}

// gate lets so many workers through that their memory stays bounded.
type gate struct {
	mu      sync.Mutex
	changed sync.Cond
	workers int
	used    int64
}

func newGate(workers int) *gate {
	g := &gate{workers: workers}
	g.changed.L = &g.mu
	return g
}

func (g *gate) enter(cost int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.workers == 0 || g.used > 0 && g.used+cost > maxWork {
		g.changed.Wait()
	}
	g.workers--
	g.used += cost
}

func (g *gate) leave(cost int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers++
	g.used -= cost
	g.changed.Broadcast()
}
