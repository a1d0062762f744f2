package delta

import (
	"io"

	"slipway/signing/payload"
)

func blocksOf(extents []payload.Extent) (n uint64) {
	for _, e := range extents {
		n += e.Blocks
	}
	return n
}

// appendExtent adds an extent, to the last one if it follows that.
func appendExtent(all []payload.Extent, e payload.Extent) []payload.Extent {
	if n := len(all); n > 0 && all[n-1].Start+all[n-1].Blocks == e.Start {
		all[n-1].Blocks += e.Blocks
		return all
	}
	return append(all, e)
}

// split divides extents into parts of at most n blocks.
func split(all []payload.Extent, n uint64) (parts [][]payload.Extent) {
	var part []payload.Extent
	for _, e := range all {
		for e.Blocks > 0 {
			take := min(e.Blocks, n-blocksOf(part))
			part = append(part, payload.Extent{Start: e.Start, Blocks: take})
			e.Start, e.Blocks = e.Start+take, e.Blocks-take
			if blocksOf(part) == n {
				parts, part = append(parts, part), nil
			}
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// readExtents copies the blocks of extents from r to w.
func readExtents(w io.Writer, r io.ReaderAt, extents []payload.Extent) error {
	for _, e := range extents {
		size := int64(e.Blocks) * block
		n, err := io.Copy(w, io.NewSectionReader(r, int64(e.Start)*block, size))
		if err == nil && n < size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}
