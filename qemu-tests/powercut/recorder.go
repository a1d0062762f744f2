package powercut

import (
	"bytes"
	"slices"
)

// Recorder is a disk that remembers what is done to it.
type Recorder struct {
	// Disk is the content with all that was done.
	*Disk
	start *Disk
	ops   []Operation
}

// Record returns a recorder that starts with the content of d, which itself
// stays as it is.
func Record(d *Disk) *Recorder {
	start := d.Clone()
	return &Recorder{Disk: start.Clone(), start: start}
}

// WriteAt implements io.WriterAt. A write that does not fit writes nothing.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.Disk.WriteAt(p, off)
	if n > 0 {
		r.ops = append(r.ops, Operation{
			Kind: Write, Offset: off, Size: int64(n), content: bytes.NewReader(bytes.Clone(p)),
		})
	}
	return n, err
}

// Sync makes all writes before it safe from a power cut.
func (r *Recorder) Sync() error {
	r.ops = append(r.ops, Operation{Kind: Sync})
	return nil
}

// Mark names what begins here; State.Mark repeats it.
func (r *Recorder) Mark(text string) { r.ops = append(r.ops, Operation{Kind: Mark, Text: text}) }

// Operations is all that was done so far.
func (r *Recorder) Operations() []Operation { return slices.Clone(r.ops) }

// Sectors are the numbers of all sectors that were written, in the order of
// the writes, repeated if written again.
func (r *Recorder) Sectors() []int64 {
	var list []int64
	for _, op := range r.ops {
		for lba := op.Offset / Sector; op.Kind.changes() && lba*Sector < op.Offset+op.Size; lba++ {
			list = append(list, lba)
		}
	}
	return list
}

// Syncs is how many syncs there were.
func (r *Recorder) Syncs() int {
	n := 0
	for _, op := range r.ops {
		if op.Kind == Sync {
			n++
		}
	}
	return n
}
