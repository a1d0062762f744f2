package payload

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Plan gives the operations of a payload in the order of their destination.
type Plan = iter.Seq2[Operation, error]

// Scratch keeps the data of a payload until the manifest in front of it is
// known: an empty file.
type Scratch interface {
	io.Writer
	io.ReaderAt
}

// WriteOptions says what Write makes a payload of.
type WriteOptions struct {
	// Manifest without operations and signatures' place: Write fills those.
	Manifest Manifest
	Plan     Plan
	Scratch  Scratch
	Signers  []Signer
}

// Write writes a payload.
func Write(ctx context.Context, w io.Writer, o *WriteOptions) (*Manifest, error) {
	return nil, errors.New("internal error: not written yet")
}
