package powercut

import (
	"fmt"
	"iter"
	"math/rand/v2"
)

// Options say which states to visit. The zero value is good for tests that
// take a second.
type Options struct {
	// Seed chooses the random selections; equal seeds give equal states.
	Seed uint64
	// Random is how many pairs of random selections to visit for each sync;
	// 0 is 64, negative is none.
	Random int
	// Seen holds the digests of states visited already, which are left out,
	// and takes up the new ones. nil is a set for this call only.
	Seen map[[16]byte]bool
}

// State is what a power cut left.
type State struct {
	// Disk is the content, to be read or changed at will.
	*Disk
	// Mark is the text of the last mark before the writes that may be lost.
	Mark string
	// epoch is the number of syncs before those writes.
	epoch int
	cut   cut
}

// String says which cut it was, for the message of a test.
func (s State) String() string {
	return fmt.Sprintf("%s, after sync %d, %s", s.Mark, s.epoch, s.cut)
}

// States is the function States for the recording so far.
func (r *Recorder) States(o Options) iter.Seq[State] { return States(r.start, r.ops, o) }

// States visits the disks that a cut at any moment of a recording can leave,
// each content once: the one before and the one after each sync, and of the
// writes between two syncs
//
//   - every selection of sectors, if there are at most 10 sectors;
//   - otherwise the writes up to each sector in their order (torn), the same
//     with the torn write landing from its end, all but one write, all but
//     one sector, one write or one sector alone, all after each sector, all
//     up to each write without one of them, every selection of writes if
//     there are at most 10, and random selections of writes and of sectors.
//
// Where that would be more than some thousand states for one sync, places
// are sampled. What was written goes into memory: for the recording of a whole
// machine there is Cuts.
func States(start *Disk, ops []Operation, o Options) iter.Seq[State] {
	if o.Random == 0 {
		o.Random = 64
	}
	return func(yield func(State) bool) {
		seen := o.Seen
		if seen == nil {
			seen = map[[16]byte]bool{}
		}
		rng := rand.New(rand.NewPCG(o.Seed, 0))
		base := start.Clone()
		e := epoch{mark: "start"}
		visit := func() bool {
			for c := range e.cuts(rng, o.Random) {
				d := e.disk(base, c)
				if seen[d.Digest()] {
					continue
				}
				seen[d.Digest()] = true
				if !yield(State{Disk: d, Mark: e.mark, epoch: e.number, cut: c}) {
					return false
				}
			}
			return true
		}
		for i, op := range ops {
			if op.Kind.changes() {
				e.add(op)
			}
			if op.Kind == Sync || i == len(ops)-1 {
				if !visit() {
					return
				}
				for _, f := range e.parts {
					base.apply(f)
				}
				e = epoch{mark: e.mark, number: e.number + 1}
			}
			if op.Kind == Mark && len(e.parts) == 0 {
				e.mark = op.Text
			}
		}
	}
}

// epoch is what was written between two syncs.
type epoch struct {
	mark   string
	number int
	// parts are the sectors written, in order; starts are where in parts
	// each write begins, and its end at last.
	parts  []fragment
	starts []int
	// through are the writes, by their number, that were stable at once.
	through map[int]bool
}

func (e *epoch) add(op Operation) {
	parts, err := op.fragments()
	if err != nil {
		panic(fmt.Sprintf("read recorded %v", err))
	}
	if len(parts) == 0 {
		return
	}
	if op.FUA {
		if e.through == nil {
			e.through = map[int]bool{}
		}
		e.through[max(len(e.starts)-1, 0)] = true
	}
	if len(e.starts) == 0 {
		e.starts = []int{0}
	}
	e.parts = append(e.parts, parts...)
	e.starts = append(e.starts, len(e.parts))
}

// writes is how many writes the epoch has.
func (e *epoch) writes() int { return max(len(e.starts)-1, 0) }

// disk makes the disk of a cut on top of the state before the epoch.
func (e *epoch) disk(base *Disk, c cut) *Disk {
	d := base.Clone()
	last := -1
	for i := len(e.parts) - 1; i >= 0 && len(e.through) > 0; i-- {
		if c.keeps(i) {
			last = i
			break
		}
	}
	for w := range e.writes() {
		// What was written through is there once anything later is.
		sure := e.through[w] && e.starts[w+1] <= last
		for i := e.starts[w]; i < e.starts[w+1]; i++ {
			if sure || c.keeps(i) {
				d.apply(e.parts[i])
			}
		}
	}
	return d
}

// writeOf is the number of the write that part i belongs to.
func (e *epoch) writeOf(i int) int {
	low, high := 0, e.writes()
	for high-low > 1 {
		if mid := (low + high) / 2; e.starts[mid] <= i {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}
