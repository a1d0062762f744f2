// Package patch makes new data out of old data and a patch, and patches out of
// both. It is made for programs: most of a new version is like the old one but
// for addresses that differ all over it, a few bytes each.
//
// A patch is made by the method of bsdiff: bytes are copied from the old data,
// with the differences they need, and bytes added that nothing old is like.
// Numbers and bytes of a kind are gathered in a stream of their own, packed by
// zstd, so that applying a patch is hardly more than unpacking it.
//
// Zstandard frames in the data, such as a kernel's, are not compared as they
// are, nor by their content: they are taken apart into the literals and the
// matches that the compressor wrote, of which most follow from those of the old
// frame at the same place. The frame is put together again to the bit by
// package zframe; neither compressor nor content has to exist where the patch
// is applied.
//
// Layout of a patch, numbers as of encoding/binary's Uvarint:
//
//	format, 1 byte: 2
//	header: sizes of the old data and of the new; count of frames; for each
//	  frame, in the order of the new data: place and size in the old data, how
//	  many matches and literals that has; place and size in the new data; how
//	  many runs of content are alike
//	for each stream: its size in the patch
//	the streams: pieces, each headed by its size and its packed size; if these
//	  are equal it is not packed, else a Zstandard frame
//
// Making patches is deterministic. The package uses the standard library and
// klauspost/compress.
package patch

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	format = 2

	// MaxSize bounds the old and the new data, in bytes.
	MaxSize = 256 << 20
	// MaxMemory bounds what Apply takes beside the patch and the old data, in
	// bytes. Make makes no patch that needs more.
	MaxMemory = 60 << 20

	// baseMemory is what streams and buffers take, frameMemory what they take
	// more if there are frames.
	baseMemory  = streams*maxPiece + 4<<20
	frameMemory = 4 << 20
)

// header is what a patch begins with.
type header struct {
	oldSize, newSize int64
	frames           []*frame
	sizes            [streams]int64 // of the streams in the patch
}

// frame is a Zstandard frame in the new data, and the one in the old data that
// it is like.
type frame struct {
	oldAt, oldSize    int64 // bytes
	matches, literals int64 // of the old frame
	at, size          int64 // in the new data, bytes
	runs              int64 // of content that both have
}

// What bounds the time that a patch takes, whatever it says.
const (
	// maxSegments bounds the segments, each of which may read elsewhere.
	maxSegments = 1 << 20
	// maxFrames, maxBlocks and maxContent bound the frames in one patch, their
	// blocks, and their content in bytes.
	maxFrames  = 16
	maxBlocks  = 1 << 16
	maxContent = 128 << 20
)

// fields are the numbers of a frame, in the order of the header.
func (f *frame) fields() []*int64 {
	return []*int64{&f.oldAt, &f.oldSize, &f.matches, &f.literals, &f.at, &f.size, &f.runs}
}

func (h *header) append(b []byte) []byte {
	b = append(b, format)
	for _, v := range []int64{h.oldSize, h.newSize, int64(len(h.frames))} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	for _, f := range h.frames {
		for _, v := range f.fields() {
			b = binary.AppendUvarint(b, uint64(*v))
		}
	}
	for _, v := range h.sizes {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

var (
	errHeader = errors.New("bad header")
	errShort  = errors.New("ends too early")
	errMemory = fmt.Errorf("takes more than %d MiB of memory", MaxMemory>>20)
)

// readHeader reads the header of a patch and gives the rest.
func readHeader(b []byte) (*header, []byte, error) {
	if len(b) == 0 {
		return nil, nil, errShort
	}
	if b[0] != format {
		return nil, nil, fmt.Errorf("format %d, want %d", b[0], format)
	}
	b = b[1:]
	h := new(header)
	var frames int64
	if err := readNumbers(&b, MaxSize, &h.oldSize, &h.newSize); err != nil {
		return nil, nil, err
	}
	if err := readNumbers(&b, maxFrames, &frames); err != nil {
		return nil, nil, err
	}
	at, oldAt := int64(0), int64(0)
	for range frames {
		f := new(frame)
		if err := readNumbers(&b, MaxSize, f.fields()...); err != nil {
			return nil, nil, err
		}
		if f.oldAt < oldAt || f.oldAt+f.oldSize > h.oldSize || f.at < at || f.at+f.size > h.newSize {
			return nil, nil, errHeader
		}
		oldAt, at = f.oldAt+f.oldSize, f.at+f.size
		h.frames = append(h.frames, f)
	}
	for i := range h.sizes {
		if err := readNumbers(&b, 1<<30, &h.sizes[i]); err != nil {
			return nil, nil, err
		}
	}
	return h, b, nil
}

// readNumbers reads numbers up to a limit from the start of b.
func readNumbers(b *[]byte, limit uint64, to ...*int64) error {
	for _, to := range to {
		v, n := binary.Uvarint(*b)
		if n == 0 {
			return errShort
		}
		if n < 0 || v > limit {
			return errHeader
		}
		*to, *b = int64(v), (*b)[n:]
	}
	return nil
}

// memory is what it takes to apply the patch beside itself, in bytes.
func (h *header) memory() int64 {
	n := int64(baseMemory)
	if len(h.frames) > 0 {
		n += frameMemory
	}
	for _, f := range h.frames {
		n += f.memory()
	}
	return n
}

// memory is what a frame takes beside frameMemory, in bytes.
func (f *frame) memory() int64 {
	return f.literals + f.matches*(matchMemory+markMemory/markEvery) + f.runs*runMemory
}
