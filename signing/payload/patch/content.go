package patch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sort"
)

// chunk is the unit of memory of content and parses, in bytes.
const chunk = 64 << 10

// content is what a frame unpacks to, in memory. Chunks of zeros take none.
type content struct {
	chunks [][]byte // nil for zeros
	tail   []byte   // the chunk that is being filled
	size   int64
	limit  int64 // of size
	room   *room
	buf    []byte
}

// room counts down the memory that may be taken, in bytes.
type room struct{ left int64 }

var errMemory = fmt.Errorf("takes more than %d MiB of memory", MaxMemory>>20)

// take takes memory.
func (r *room) take(n int64) error {
	if r.left -= n; r.left < 0 {
		return errMemory
	}
	return nil
}

func (c *content) Size() int64 { return c.size }

func (c *content) Append(b []byte) error {
	if int64(len(b)) > c.limit-c.size {
		return fmt.Errorf("a frame of more than %d bytes of content", c.limit)
	}
	c.size += int64(len(b))
	for len(b) > 0 {
		if c.tail == nil {
			c.tail = make([]byte, 0, chunk)
		}
		n := min(len(b), chunk-len(c.tail))
		c.tail = append(c.tail, b[:n]...)
		b = b[n:]
		if len(c.tail) == chunk {
			if err := c.keep(); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep adds the full tail to the chunks.
func (c *content) keep() error {
	if bytes.Count(c.tail, []byte{0}) == chunk {
		c.chunks = append(c.chunks, nil)
		c.tail = c.tail[:0]
		return c.room.take(24)
	}
	c.chunks = append(c.chunks, c.tail)
	c.tail = nil
	return c.room.take(24 + chunk)
}

func (c *content) Repeat(offset, n uint32) error {
	if cap(c.buf) < int(n) {
		c.buf = make([]byte, max(n, chunk))
	}
	b := c.buf[:n]
	c.read(b[:min(offset, n)], c.size-int64(offset))
	for done := offset; done < n; done *= 2 {
		copy(b[done:], b[:done])
	}
	return c.Append(b)
}

// read fills b with the bytes from off on, which must be there.
func (c *content) read(b []byte, off int64) {
	for len(b) > 0 {
		i, at := int(off/chunk), int(off%chunk)
		n := min(len(b), chunk-at)
		switch {
		case i == len(c.chunks):
			copy(b[:n], c.tail[at:])
		case c.chunks[i] == nil:
			clear(b[:n])
		default:
			copy(b[:n], c.chunks[i][at:])
		}
		b, off = b[n:], off+int64(n)
	}
}

// parse keeps the matches that a compressor found, in the order of their
// place: numbers of few bytes, and an index.
type parse struct {
	chunks [][]byte
	index  []parseMark
	count  int
	end    uint32 // of the last match
	room   *room
}

// parseMark is where a match is, for each one of indexEvery.
type parseMark struct {
	start uint32 // end of the match before
	chunk uint32
	at    uint32
}

const (
	indexEvery = 64
	maxMatchIn = 16 // bytes that a match takes at most
)

// match is one match: n bytes at place at that are equal to those offset
// before. start is where the match before ends. Only offsets beyond the reach
// of history are kept, others are 0.
type match struct {
	start, at, n, offset uint32
}

func (p *parse) add(at, n, offset uint32) error {
	last := len(p.chunks) - 1
	if last < 0 || len(p.chunks[last])+maxMatchIn > chunk {
		p.chunks = append(p.chunks, make([]byte, 0, chunk))
		last++
		if err := p.room.take(chunk + 24); err != nil {
			return err
		}
	}
	b := p.chunks[last]
	if p.count%indexEvery == 0 {
		p.index = append(p.index, parseMark{p.end, uint32(last), uint32(len(b))})
		if err := p.room.take(24); err != nil {
			return err
		}
	}
	// A byte for what most matches are, and numbers for what does not fit.
	literals, far := at-p.end, byte(boolBit(offset > reach))
	b = append(b, byte(min(literals, 7))<<1|byte(min(n-3, 15))<<4|far)
	if literals >= 7 {
		b = binary.AppendUvarint(b, uint64(literals-7))
	}
	if n-3 >= 15 {
		b = binary.AppendUvarint(b, uint64(n-3-15))
	}
	if far != 0 {
		b = binary.AppendUvarint(b, uint64(offset))
	}
	p.chunks[last] = b
	p.count++
	p.end = at + n
	return nil
}

// cursor walks over a parse.
type cursor struct {
	p     *parse
	now   match
	valid bool
	next  int // number of the match after now
	chunk uint32
	at    uint32
}

// seek finds the first match that starts at a place or behind it.
func (c *cursor) seek(at uint32) (match, bool) {
	if c.p == nil || c.p.count == 0 {
		return match{}, false
	}
	if !c.valid || at < c.now.at && at < c.now.start || at > c.now.at+1<<12 {
		i := sort.Search(len(c.p.index), func(i int) bool { return c.p.index[i].start > at }) - 1
		mark := c.p.index[max(i, 0)]
		c.next = max(i, 0) * indexEvery
		c.chunk, c.at = mark.chunk, mark.at
		c.now = match{at: mark.start}
		c.step()
	}
	for c.now.at < at {
		if !c.step() {
			return match{}, false
		}
	}
	return c.now, true
}

// step goes to the next match.
func (c *cursor) step() bool {
	c.valid = c.next < c.p.count
	if !c.valid {
		return false
	}
	b := c.p.chunks[c.chunk]
	if int(c.at) == len(b) {
		c.chunk, c.at = c.chunk+1, 0
		b = c.p.chunks[c.chunk]
	}
	first := b[c.at]
	c.at++
	literals, n, offset := uint32(first>>1&7), uint32(first>>4), uint32(0)
	if literals == 7 {
		literals += c.number(b)
	}
	if n == 15 {
		n += c.number(b)
	}
	if first&1 != 0 {
		offset = c.number(b)
	}
	start := c.now.at + c.now.n
	c.now = match{start, start + literals, n + 3, offset}
	c.next++
	return true
}

func (c *cursor) number(b []byte) uint32 {
	v, n := binary.Uvarint(b[c.at:])
	c.at += uint32(n)
	return uint32(v)
}

// view is old data with the content of frames in the place of the frames.
type view struct {
	r      io.ReaderAt
	pieces []viewPiece
	size   int64
}

// viewPiece is a part of a view.
type viewPiece struct {
	at, size int64 // in the view
	from     int64 // in the old data
	frame    *frame
}

// readAt fills b with the bytes of the view from off on, which must be there.
func (v *view) readAt(b []byte, off int64) error {
	i := sort.Search(len(v.pieces), func(i int) bool { return v.pieces[i].at > off }) - 1
	for len(b) > 0 {
		p := &v.pieces[i]
		n := int(min(int64(len(b)), p.at+p.size-off))
		if p.frame != nil {
			p.frame.content.read(b[:n], off-p.at)
		} else if got, err := v.r.ReadAt(b[:n], p.from+off-p.at); got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		b, off = b[n:], off+int64(n)
		i++
	}
	return nil
}
