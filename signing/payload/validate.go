package payload

import (
	"errors"
	"fmt"
)

// maxSalt bounds the salt of a hash tree, as dm-verity does.
const maxSalt = 256

// count is the number of blocks in the extents, and whether it is a number that
// can be: nothing overflows, no extent is empty.
func count(extents []Extent) (blocks uint64, ok bool) {
	const limit = MaxPartition / BlockSize
	for _, e := range extents {
		if e.Blocks == 0 || e.Blocks > limit || e.Start > limit {
			return 0, false
		}
		if blocks += e.Blocks; blocks > limit {
			return 0, false
		}
	}
	return blocks, true
}

// DstSize is the number of bytes that the operation writes.
func (o *Operation) DstSize() int64 { return sizeOf(o.Dst) }

// SrcSize is the number of bytes that the operation reads of the source.
func (o *Operation) SrcSize() int64 { return sizeOf(o.Src) }

func sizeOf(extents []Extent) (n int64) {
	for _, e := range extents {
		n += int64(e.Blocks) * BlockSize
	}
	return n
}

// check looks at an operation by itself.
func (o *Operation) check() error {
	dst, dstOK := count(o.Dst)
	src, srcOK := count(o.Src)
	hasSrc, hasData := false, true
	switch o.Type {
	case Replace, ReplaceZstd:
	case Patch:
		hasSrc = true
	case SourceCopy:
		hasSrc, hasData = true, false
	case Zero:
		hasData = false
	default:
		return fmt.Errorf("%s is not supported", o.Type)
	}
	switch {
	case !dstOK || dst == 0:
		return errors.New("no or impossible destination")
	case !srcOK || hasSrc != (src > 0):
		return fmt.Errorf("%s with no, needless or impossible source", o.Type)
	case hasData != (o.DataSize > 0):
		return fmt.Errorf("%s with %d bytes of data", o.Type, o.DataSize)
	case o.DataSize > MaxData:
		return fmt.Errorf("%d bytes of data, at most %d are allowed", o.DataSize, MaxData)
	case o.Type == SourceCopy && src != dst:
		return fmt.Errorf("%d source blocks for %d", src, dst)
	case o.Type == Replace && o.DataSize != o.DstSize():
		return fmt.Errorf("%d bytes of data for %d", o.DataSize, o.DstSize())
	case o.Type == ReplaceZstd && o.DataSize >= o.DstSize():
		return fmt.Errorf("%d bytes of compressed data for %d", o.DataSize, o.DstSize())
	case (o.Type == Replace || o.Type == ReplaceZstd) && o.DstSize() > MaxReplace:
		return fmt.Errorf("%s writes %d bytes, at most %d are allowed", o.Type, o.DstSize(), MaxReplace)
	}
	return nil
}

// check looks at the size of a partition.
func (i *Image) check() error {
	if i.Size <= 0 || i.Size%BlockSize != 0 || i.Size > MaxPartition {
		return fmt.Errorf("partition of %d bytes, want a multiple of %d up to %d", i.Size, BlockSize, MaxPartition)
	}
	return nil
}

// validate checks everything that a manifest says against itself: whoever
// applies it then writes every block of the partition once and no other.
func (m *Manifest) validate() error {
	if err := m.New.check(); err != nil {
		return err
	}
	sources := uint64(0)
	if m.Old != nil {
		if err := m.Old.check(); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		sources = uint64(m.Old.Size / BlockSize)
	}
	written := newBlocks(m.New.Size / BlockSize)
	offset := int64(0)
	for n := range m.Operations {
		o := &m.Operations[n]
		if err := m.place(o, written, sources, offset); err != nil {
			return fmt.Errorf("operation %d: %w", n, err)
		}
		offset += o.DataSize
	}
	if m.SignaturesOffset != offset {
		return fmt.Errorf("signatures at %d, data ends at %d", m.SignaturesOffset, offset)
	}
	if m.SignaturesSize <= 0 || m.SignaturesSize > MaxSignatures {
		return fmt.Errorf("signatures of %d bytes, want 1 to %d", m.SignaturesSize, MaxSignatures)
	}
	if err := m.HashTree.place(written); err != nil {
		return err
	}
	if block, ok := written.firstFree(); ok {
		return fmt.Errorf("nothing writes block %d", block)
	}
	return nil
}

// place checks an operation against the partitions and the operations before.
func (m *Manifest) place(o *Operation, written *blocks, sources uint64, offset int64) error {
	if err := o.check(); err != nil {
		return err
	}
	for _, e := range o.Src {
		if e.Start >= sources || e.Blocks > sources-e.Start {
			return fmt.Errorf("reads blocks %d+%d of a source of %d", e.Start, e.Blocks, sources)
		}
	}
	if n, _ := count(o.Src); n > sources {
		return fmt.Errorf("reads %d blocks of a source of %d", n, sources)
	}
	for _, e := range o.Dst {
		if err := written.mark(e); err != nil {
			return err
		}
	}
	if o.DataSize > 0 && o.DataOffset != offset {
		return fmt.Errorf("data at %d, should be at %d", o.DataOffset, offset)
	}
	return nil
}

// place checks the tree and marks its blocks. There may be no tree.
func (t *HashTree) place(written *blocks) error {
	if t == nil {
		return nil
	}
	if t.Algorithm != "sha256" || len(t.Salt) > maxSalt {
		return fmt.Errorf("hash tree of %.20q with %d bytes of salt", t.Algorithm, len(t.Salt))
	}
	size, d := uint64(written.n), t.Data
	if d.Blocks < 2 || d.Start >= size || d.Blocks > size-d.Start {
		return fmt.Errorf("hash tree over blocks %d+%d of %d", d.Start, d.Blocks, size)
	}
	want := uint64(0)
	for n := d.Blocks; n > 1; {
		n = (n + BlockSize/32 - 1) / (BlockSize / 32)
		want += n
	}
	if t.Tree.Blocks != want {
		return fmt.Errorf("hash tree of %d blocks over %d, want %d", t.Tree.Blocks, d.Blocks, want)
	}
	if t.Tree.Start < d.Start+d.Blocks && d.Start < t.Tree.Start+t.Tree.Blocks {
		return errors.New("hash tree inside its own data")
	}
	if err := written.mark(t.Tree); err != nil {
		return fmt.Errorf("hash tree: %w", err)
	}
	return nil
}

// blocks remembers which blocks of a partition have been spoken for.
type blocks struct {
	n    int64
	bits []uint64
}

func newBlocks(n int64) *blocks { return &blocks{n, make([]uint64, (n+63)/64)} }

// mark speaks for an extent: inside the partition, and free until now.
func (b *blocks) mark(e Extent) error {
	if size := uint64(b.n); e.Start >= size || e.Blocks > size-e.Start {
		return fmt.Errorf("writes blocks %d+%d of a partition of %d", e.Start, e.Blocks, size)
	}
	for i := e.Start; i < e.Start+e.Blocks; i++ {
		if b.bits[i/64]&(1<<(i%64)) != 0 {
			return fmt.Errorf("writes block %d, which is written already", i)
		}
		b.bits[i/64] |= 1 << (i % 64)
	}
	return nil
}

// firstFree finds the first block that nothing has spoken for.
func (b *blocks) firstFree() (int64, bool) {
	for i, word := range b.bits {
		if ^word == 0 {
			continue
		}
		for k := int64(i) * 64; k < min(b.n, int64(i)*64+64); k++ {
			if word&(1<<(k%64)) == 0 {
				return k, true
			}
		}
	}
	return 0, false
}
