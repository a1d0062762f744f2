package payload

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

// readBack takes the digest of the target as it can be read: block after block,
// each once it has been written and synced, so that little is left to read when
// the last one has been.
type readBack struct {
	r    io.ReaderAt
	h    hash.Hash
	at   int64 // bytes that have been read
	buf  []byte
	done []int64 // of the target before the operation of that index, bytes
}

func newReadBack(m *Manifest, o *ApplyOptions) *readBack {
	b := &readBack{r: o.ReadBack, h: sha256.New()}
	if b.r == nil {
		b.r = o.Target
	}
	// Before an operation, everything in front of what it and those after it
	// write is written, but for the hash tree, which comes last.
	b.done = make([]int64, len(m.Operations)+1)
	first := m.New.Size
	b.done[len(m.Operations)] = first
	if m.HashTree != nil {
		first = int64(m.HashTree.Tree.Start) * BlockSize
	}
	for i := len(m.Operations) - 1; i >= 0; i-- {
		for _, e := range m.Operations[i].Dst {
			first = min(first, int64(e.Start)*BlockSize)
		}
		b.done[i] = first
	}
	return b
}

// upTo reads what is synced once all operations before the one of that index
// are. For the last it is everything, hash tree included.
func (b *readBack) upTo(ctx context.Context, operation int) error {
	b.buf = grow(b.buf, copySize)
	for end := b.done[operation]; b.at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := b.buf[:min(int64(len(b.buf)), end-b.at)]
		n, err := b.r.ReadAt(part, b.at)
		if n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read target back: %w", err)
		}
		b.h.Write(part)
		b.at += int64(n)
	}
	return nil
}
