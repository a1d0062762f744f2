package powercut

import (
	"fmt"
	"io"
)

// Kind says what an operation does.
type Kind int

// The kinds of operations.
const (
	// Write writes Size bytes at Offset.
	Write Kind = iota
	// Discard fills Size bytes at Offset with zeros.
	Discard
	// Sync makes all operations before it safe from a power cut.
	Sync
	// Mark does nothing to the disk; Text says what begins here.
	Mark
)

func (k Kind) changes() bool { return k == Write || k == Discard }

// Operation is one thing that was done to a disk.
type Operation struct {
	Kind Kind
	// Offset and Size are in bytes, for Write and Discard.
	Offset, Size int64
	// FUA says that a write was on stable storage when it ended.
	FUA bool
	// Text is that of a Mark.
	Text string

	content io.ReaderAt
}

// String shows the operation without its data.
func (o Operation) String() string {
	switch o.Kind {
	case Sync:
		return "sync"
	case Mark:
		return fmt.Sprintf("mark %q", o.Text)
	}
	name := map[Kind]string{Write: "write", Discard: "discard"}[o.Kind]
	if o.FUA {
		name += " through"
	}
	return fmt.Sprintf("%s %d+%d", name, o.Offset, o.Size)
}

// ReadAt reads what a Write writes, which is zeros for a Discard.
func (o Operation) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > o.Size {
		return 0, fmt.Errorf("read at %d of a write of %d bytes", off, o.Size)
	}
	short := int64(len(p)) > o.Size-off
	if short {
		p = p[:o.Size-off]
	}
	if o.content == nil {
		clear(p)
	} else if n, err := o.content.ReadAt(p, off); n < len(p) {
		return n, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// fragments reads what the operation writes and takes it apart.
func (o Operation) fragments() ([]fragment, error) {
	b := make([]byte, o.Size)
	if n, err := o.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	return fragments(b, o.Offset), nil
}

// touches says whether the operation changes one of n bytes at offset.
func (o Operation) touches(offset, n int64) bool {
	return o.Kind.changes() && o.Offset < offset+n && offset < o.Offset+o.Size
}
