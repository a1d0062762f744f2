package payload

import (
	"fmt"
	"io"
	"sort"
)

// extentReader reads extents of r as one run of bytes.
type extentReader struct {
	r       io.ReaderAt
	extents []Extent
	ends    []int64 // where each extent ends in the run
}

// NewExtentReader reads extents of r, of which there must be some, as one run of
// bytes: what a patch takes as its source.
func NewExtentReader(r io.ReaderAt, extents []Extent) io.ReaderAt {
	return newExtentReader(r, extents)
}

func newExtentReader(r io.ReaderAt, extents []Extent) *extentReader {
	x := &extentReader{r: r, extents: extents}
	end := int64(0)
	for _, e := range extents {
		end += int64(e.Blocks) * BlockSize
		x.ends = append(x.ends, end)
	}
	return x
}

func (x *extentReader) size() int64 { return x.ends[len(x.ends)-1] }

// ReadAt reads from the run.
func (x *extentReader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	i := sort.Search(len(x.ends), func(i int) bool { return x.ends[i] > off })
	for ; n < len(b); i++ {
		if i == len(x.ends) {
			return n, io.EOF
		}
		e := x.extents[i]
		left := x.ends[i] - off
		at := int64(e.Start+e.Blocks)*BlockSize - left
		part := b[n:min(len(b), n+int(min(left, int64(len(b)))))]
		got, err := x.r.ReadAt(part, at)
		n, off = n+got, off+int64(got)
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// extentWriter writes a run of bytes into extents of w, and nowhere else.
type extentWriter struct {
	w       io.WriterAt
	extents []Extent // left; the first may be partly written
	done    int64    // bytes written of the first
}

// Write writes on. More than the extents hold is an error, of which nothing is
// written.
func (x *extentWriter) Write(b []byte) (n int, err error) {
	if left := x.left(); int64(len(b)) > left {
		return 0, fmt.Errorf("%d bytes more than its destination holds", int64(len(b))-left)
	}
	for n < len(b) {
		e := x.extents[0]
		size := int64(e.Blocks) * BlockSize
		part := b[n:min(int64(len(b)), int64(n)+size-x.done)]
		if _, err := x.w.WriteAt(part, int64(e.Start)*BlockSize+x.done); err != nil {
			return n, fmt.Errorf("write target: %w", err)
		}
		n, x.done = n+len(part), x.done+int64(len(part))
		if x.done == size {
			x.extents, x.done = x.extents[1:], 0
		}
	}
	return n, nil
}

// left is how many bytes are still to be written.
func (x *extentWriter) left() int64 { return sizeOf(x.extents) - x.done }
