package powercut

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Image is a disk with operations done to it, none of which is in memory: the
// disk of a machine that was recorded. It is for reading some places of it
// and for WriteFile.
type Image struct {
	base io.ReaderAt
	size int64
	ops  []Operation
	// touching are the operations that change something of a zone.
	touching map[int64][]int
}

// zone is the stretch of a disk for which Image knows what touches it, in
// bytes: a machine's recording has tens of thousands of operations.
const zone = 1 << 20

// Replay does operations to a disk of size bytes: those of a Cut, or the
// beginning of a recording. base counts as zeros past its end. Operations
// past the end of the disk are errors.
func Replay(base io.ReaderAt, size int64, ops []Operation) (*Image, error) {
	for _, op := range ops {
		if op.Kind.changes() && (op.Offset > size || op.Size > size-op.Offset) {
			return nil, fmt.Errorf("replay %s: disk is %d bytes", op, size)
		}
	}
	i := &Image{base, size, ops, map[int64][]int{}}
	for n, op := range ops {
		for z := op.Offset / zone; op.Kind.changes() && z*zone < op.Offset+op.Size; z++ {
			i.touching[z] = append(i.touching[z], n)
		}
	}
	return i, nil
}

// Size is the size of the disk in bytes.
func (i *Image) Size() int64 { return i.size }

// ReadAt implements io.ReaderAt.
func (i *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= i.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > i.size-off {
		p, eof = p[:i.size-off], io.EOF
	}
	n, err := i.base.ReadAt(p, off)
	if n < len(p) && !errors.Is(err, io.EOF) {
		return 0, err
	}
	clear(p[n:])
	for at := off; at < off+int64(len(p)); {
		end := min((at/zone+1)*zone, off+int64(len(p)))
		if err := i.overlay(p[at-off:end-off], at); err != nil {
			return 0, err
		}
		at = end
	}
	return len(p), eof
}

// overlay does what the operations did to the bytes at an offset, all in one
// zone.
func (i *Image) overlay(p []byte, off int64) error {
	for _, n := range i.touching[off/zone] {
		op := i.ops[n]
		if !op.touches(off, int64(len(p))) {
			continue
		}
		from, to := max(op.Offset, off), min(op.Offset+op.Size, off+int64(len(p)))
		if n, err := op.ReadAt(p[from-off:to-off], from-op.Offset); int64(n) < to-from {
			return fmt.Errorf("replay %s: %w", op, err)
		}
	}
	return nil
}

// WriteFile writes the disk into an empty file, zeros as holes.
func (i *Image) WriteFile(f *os.File) error {
	if err := f.Truncate(i.size); err != nil {
		return err
	}
	if err := copySparse(f, i.base, i.size); err != nil {
		return err
	}
	zeros := make([]byte, copyUnit)
	buffer := make([]byte, copyUnit)
	for _, op := range i.ops {
		for at := int64(0); op.Kind.changes() && at < op.Size; at += copyUnit {
			b := buffer[:min(copyUnit, op.Size-at)]
			if op.Kind == Discard {
				b = zeros[:len(b)]
			} else if n, err := op.ReadAt(b, at); n < len(b) {
				return fmt.Errorf("replay %s: %w", op, err)
			}
			if _, err := f.WriteAt(b, op.Offset+at); err != nil {
				return err
			}
		}
	}
	return nil
}

const copyUnit = 64 << 10

// copySparse copies what is not zero of the first size bytes.
func copySparse(f *os.File, base io.ReaderAt, size int64) error {
	if d, ok := base.(*Disk); ok {
		return d.copySparse(f, size)
	}
	buffer := make([]byte, copyUnit)
	for at := int64(0); at < size; at += copyUnit {
		at = skipHole(base, at) / copyUnit * copyUnit
		if at >= size {
			return nil
		}
		n, err := base.ReadAt(buffer[:min(copyUnit, size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if b := buffer[:n]; !isZero(b) {
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

// copySparse is the function of that name for a disk.
func (d *Disk) copySparse(f *os.File, size int64) error {
	size = min(size, d.size)
	if d.root != nil {
		if err := copySparse(f, d.root, size); err != nil {
			return err
		}
	}
	return d.Written(func(offset int64, data []byte) error {
		if offset >= size {
			return nil
		}
		_, err := f.WriteAt(data, offset)
		return err
	})
}

// skipHole is where the next data of a file is, or at if nobody knows.
func skipHole(r io.ReaderAt, at int64) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return at
	}
	next, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		if info, err := f.Stat(); err == nil {
			return max(at, info.Size())
		}
		return at
	case err != nil:
		return at
	}
	return next
}

// Cut is what a disk got of a recording before the power failed.
type Cut struct {
	// Operations are those that happened, some of them in part.
	Operations []Operation
	// Text says which they are.
	Text string
}

// CutOptions say where to cut.
type CutOptions struct {
	// Seed chooses the places; equal seeds give equal cuts.
	Seed uint64
	// Count is how many cuts to make at most.
	Count int
	// At says at which operations to cut; nil is all that change the disk.
	At func(Operation) bool
}

// Touches returns a function for CutOptions.At that chooses operations which
// change a byte of the n bytes at offset.
func Touches(offset, n int64) func(Operation) bool {
	return func(o Operation) bool { return o.touches(offset, n) }
}

// Cuts chooses cuts of a long recording, evenly over the operations asked
// for. In turn, the operation is the last one that happened, the first one
// that did not, torn, alone of all since the last sync, dropped while the
// rest up to the next sync happened, or one of a random selection since the
// last sync.
func Cuts(ops []Operation, o CutOptions) iter.Seq[Cut] {
	var places []int
	for i, op := range ops {
		if op.Kind.changes() && (o.At == nil || o.At(op)) {
			places = append(places, i)
		}
	}
	count := min(o.Count, len(places)*cutKinds)
	return func(yield func(Cut) bool) {
		for n := range count {
			at := places[n*len(places)/count]
			if !yield(cutAt(ops, at, n%cutKinds, o.Seed+uint64(n))) {
				return
			}
		}
	}
}

const cutKinds = 6

// cutAt makes the cut of one kind at one operation.
func cutAt(ops []Operation, at, kind int, seed uint64) Cut {
	start, end := at, at
	for start > 0 && ops[start-1].Kind != Sync {
		start--
	}
	for end < len(ops) && ops[end].Kind != Sync {
		end++
	}
	keep := func(stop int, with func(i int) bool) []Operation {
		list := slices.Clone(ops[:start])
		for i := start; i < stop; i++ {
			if ops[i].FUA && i < at || with(i) {
				list = append(list, ops[i])
			}
		}
		return list
	}
	all := func(int) bool { return true }
	var list []Operation
	var what string
	switch kind {
	case 0:
		what, list = "up to", keep(at+1, all)
	case 1:
		what, list = "before", keep(at, all)
	case 2:
		torn := ops[at]
		torn.Size = 1 + int64(chance(seed, 0))*(torn.Size-1)/8
		torn.Size = (torn.Size + Sector - 1) / Sector * Sector
		what, list = fmt.Sprintf("torn after %d bytes:", torn.Size), append(keep(at, all), torn)
	case 3:
		what, list = "since the last sync only", keep(at+1, func(i int) bool { return i == at })
	case 4:
		what, list = "up to the next sync without", keep(end, func(i int) bool { return i != at || ops[i].FUA })
	default:
		what, list = "a selection since the last sync with",
			keep(end, func(i int) bool { return i == at || chance(seed, i) < 4 })
	}
	return Cut{list, fmt.Sprintf("operation %d of %d, %s %s", at, len(ops), what, ops[at])}
}
