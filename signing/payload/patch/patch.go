// Package patch makes new data out of old data and a patch, and patches out of
// both. It is made for programs: most of a new version is like the old one but
// for addresses that differ all over it, a few bytes each.
//
// A patch lists segments by the method of bsdiff: bytes copied from the old
// data, with the differences they need, and bytes added that nothing old is
// like. Everything is coded by one arithmetic coder whose models learn as they
// go, so that a patch needs no further compression.
//
// Zstandard frames in the data, such as a kernel's, are taken apart first: the
// patch leads from the old content to the new one, and then states what the
// compressor decided, most of which follows from the old frame or the content
// itself. The frame is put together again to the bit by package zframe; no
// compressor has to exist where the patch is applied.
//
// Layout of a patch:
//
//	format, 1 byte: 1
//	header, numbers as of encoding/binary's Uvarint: sizes of the old data and
//	  the new, of the new with its frames taken apart; counts of segments, old
//	  frames, new frames; for each frame, the old ones first: place and size in
//	  the data, size of its content
//	coded: the segments, then the new data from front to end
//
// What the models do is the format: whoever changes them changes the number.
// Making patches is deterministic. The package uses the standard library only.
package patch

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	format = 1
	piece  = 64 << 10 // bytes coded at a time

	// MaxSize bounds the old and the new data, in bytes.
	MaxSize = 256 << 20
	// MaxMemory bounds what Apply takes beside the patch and the old data, in
	// bytes. Make makes no patch that needs more.
	MaxMemory = 64 << 20

	// baseMemory is what models and buffers take, frameMemory what they take
	// more if there are frames, segmentMemory what a segment does.
	baseMemory    = 8 << 20
	frameMemory   = historyMemory + 2<<20
	segmentMemory = 24
	maxSegments   = 1 << 20
)

// header is what a patch begins with.
type header struct {
	oldSize, newSize  int64
	viewSize          int64 // of the new data with its frames taken apart
	segments          int
	oldFrames, frames []*frame
}

func (h *header) append(b []byte) []byte {
	b = append(b, format)
	for _, v := range []int64{h.oldSize, h.newSize, h.viewSize, int64(h.segments), int64(len(h.oldFrames)), int64(len(h.frames))} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	for _, all := range [][]*frame{h.oldFrames, h.frames} {
		for _, f := range all {
			for _, v := range []int64{f.at, f.size, f.length} {
				b = binary.AppendUvarint(b, uint64(v))
			}
		}
	}
	return b
}

var errHeader = errors.New("bad header")

func readHeader(r *bufio.Reader) (*header, error) {
	if b, err := r.ReadByte(); err != nil {
		return nil, noEOF(err)
	} else if b != format {
		return nil, fmt.Errorf("format %d, want %d", b, format)
	}
	number := func(limit int64) (int64, error) {
		v, err := binary.ReadUvarint(r)
		if err != nil {
			return 0, noEOF(err)
		}
		if v > uint64(limit) {
			return 0, errHeader
		}
		return int64(v), nil
	}
	h := new(header)
	var segments, oldFrames, newFrames int64
	for _, f := range []struct {
		to    *int64
		limit int64
	}{
		{&h.oldSize, MaxSize}, {&h.newSize, MaxSize}, {&h.viewSize, maxContent},
		{&segments, maxSegments}, {&oldFrames, maxFrames}, {&newFrames, maxFrames},
	} {
		var err error
		if *f.to, err = number(f.limit); err != nil {
			return nil, err
		}
	}
	h.segments = int(segments)
	for i := range oldFrames + newFrames {
		f := new(frame)
		for _, to := range []*int64{&f.at, &f.size, &f.length} {
			var err error
			if *to, err = number(maxContent); err != nil {
				return nil, err
			}
		}
		if i < oldFrames {
			h.oldFrames = append(h.oldFrames, f)
		} else {
			h.frames = append(h.frames, f)
		}
	}
	return h, nil
}

// room is the memory left for frames, in bytes.
func (h *header) room() room {
	left := int64(MaxMemory - baseMemory - h.segments*segmentMemory)
	if len(h.frames) > 0 {
		left -= frameMemory + h.viewSize/32
	}
	return room{left}
}

// fits tells whether old frames that are unpacked fit into memory, and all else
// beside them.
func (h *header) fits() error {
	room := h.room()
	if h.segments > maxSegments {
		return errMemory
	}
	taken := int64(0)
	for _, f := range h.oldFrames {
		taken += f.taken
	}
	return room.take(taken)
}
