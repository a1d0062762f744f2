package xz

import (
	"bufio"
	"io"
)

const (
	maxUnpacked = 2 << 20  // bytes a chunk gives at most
	maxPacked   = 64 << 10 // bytes a chunk takes at most
	inputSize   = 128 << 10
	slack       = 16 // copies of matches may write that far beyond their end
)

// lzma2 decodes chunks of LZMA2 (section 5.3.1; the chunk format is that of
// xz-embedded's xz_dec_lzma2.c) into a window, which is one piece of memory:
// when its end is near, the part that matches can reach moves to the front.
type lzma2 struct {
	window []byte
	dict   int // bytes that matches may go back
	origin int // in window: where history and positions begin; negative once that moved out
	pos    int // in window: behind the last byte decoded
	start  int // in window: first byte not yet read

	input     [inputSize]byte // one chunk
	needDict  bool
	needProps bool
	needState bool
	lzma      lzma
	taken     int // of the chunk: where fresh begins
}

// reset begins a block.
func (d *lzma2) reset(dict int) {
	d.dict = max(dict, 4096)
	d.origin, d.pos, d.start, d.taken = 0, 0, 0, 0
	d.needDict, d.needProps, d.needState = true, true, true
}

// read copies out what has been decoded.
func (d *lzma2) read(p []byte) int {
	n := copy(p, d.window[d.start:d.pos])
	d.start += n
	return n
}

// fresh is what the last chunk gave.
func (d *lzma2) fresh() []byte { return d.window[d.taken:d.pos] }

// chunk decodes the next chunk and says how many bytes it took from in. All of
// the one before must have been read. The end of the block is io.EOF.
func (d *lzma2) chunk(in *bufio.Reader) (packed int, err error) {
	d.taken = d.pos
	control, err := in.ReadByte()
	if err != nil {
		return 0, noEOF(err)
	}
	if control == 0 {
		return 1, io.EOF
	}
	if control == 1 || control >= 0xe0 {
		d.needDict, d.needProps = false, true
		d.origin = d.pos
	} else if d.needDict {
		return 0, ErrCorrupt
	}
	if control >= 0x80 {
		packed, err = d.lzmaChunk(in, control)
	} else if control <= 2 {
		packed, err = d.plainChunk(in)
	} else {
		err = ErrCorrupt
	}
	return packed + 1, noEOF(err)
}

// plainChunk copies bytes that were not compressed.
func (d *lzma2) plainChunk(in *bufio.Reader) (int, error) {
	var h [2]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return 0, err
	}
	n := int(h[0])<<8 + int(h[1]) + 1
	d.room(n)
	if _, err := io.ReadFull(in, d.window[d.pos:d.pos+n]); err != nil {
		return 0, err
	}
	d.pos += n
	d.taken = d.pos - n
	return 2 + n, nil
}

func (d *lzma2) lzmaChunk(in *bufio.Reader, control byte) (int, error) {
	var h [5]byte
	size := 4
	if control >= 0xc0 {
		size = 5
	}
	if _, err := io.ReadFull(in, h[:size]); err != nil {
		return 0, err
	}
	unpacked := int(control&0x1f)<<16 + int(h[0])<<8 + int(h[1]) + 1
	packed := int(h[2])<<8 + int(h[3]) + 1
	switch {
	case control >= 0xc0:
		if !d.lzma.setProps(h[4]) {
			return 0, ErrCorrupt
		}
		d.needProps = false
		d.lzma.resetState()
	case d.needProps:
		return 0, ErrCorrupt
	case control >= 0xa0:
		d.lzma.resetState()
	case d.needState:
		return 0, ErrCorrupt
	}
	d.needState = false
	if _, err := io.ReadFull(in, d.input[:packed]); err != nil {
		return 0, err
	}
	d.room(unpacked)
	d.taken = d.pos
	if !d.lzma.decode(d.window, d.origin, d.pos, d.pos+unpacked, &d.input, packed) {
		return 0, ErrCorrupt
	}
	d.pos += unpacked
	return size + packed, nil
}

// room makes n bytes free behind pos. Everything before pos has been read.
func (d *lzma2) room(n int) {
	need := d.pos + n + slack
	if need <= len(d.window) {
		return
	}
	// Small files never get a window of full size.
	full := 2*d.dict + maxUnpacked + slack
	if need <= full {
		bigger := make([]byte, min(max(2*len(d.window), need, 128<<10), full))
		copy(bigger, d.window[:d.pos])
		d.window = bigger
		return
	}
	keep := min(d.dict, d.pos-max(d.origin, 0))
	copy(d.window, d.window[d.pos-keep:d.pos])
	d.origin -= d.pos - keep
	d.pos, d.start = keep, keep
	d.room(n)
}
