package patch

import (
	"errors"
	"io"
	"sort"
)

// segment says how a piece of the new data comes about: copied bytes of the
// old data, some of them different, and then added bytes that are in none.
type segment struct {
	old    uint32 // where the copied bytes start in the old data
	copied uint32
	added  uint32
}

// few gives segments of which there are at most so many: the shortest copies
// become added bytes.
func few(all []segment, most int) []segment {
	for short := uint32(8); len(all) > most; short *= 2 {
		kept := all[:0:0]
		for _, s := range all {
			if n := len(kept); n > 0 && s.copied < short {
				kept[n-1].added += s.copied + s.added
			} else {
				kept = append(kept, s)
			}
		}
		all = kept
	}
	return all
}

// plain writes the segments of data that is in no frame, and what they do not
// copy.
func (o *output) plain(old, fresh []byte, segments []segment) {
	end, equal, any := int64(0), uint64(0), false
	for _, s := range segments {
		if s.copied+s.added == 0 {
			continue
		}
		any = any || s.copied > 0
		o.number(lengths, uint64(s.copied))
		o.number(lengths, uint64(s.added))
		o.signed(moves, int64(s.old)-end)
		end = int64(s.old) + int64(s.copied)
		for i, b := range old[s.old:end] {
			if d := fresh[i] - b; d != 0 {
				o.number(equals, equal)
				o.byte(differences, d)
				equal = 0
			} else {
				equal++
			}
		}
		o.bytes(added, fresh[s.copied:s.copied+s.added])
		fresh = fresh[s.copied+s.added:]
	}
	if any {
		o.number(equals, equal)
	}
}

// plain makes data that is in no frame.
type plain struct {
	in    *input
	old   *window
	count int     // of segments so far
	now   segment // what is left of it
	end   int64   // of the old bytes copied
	equal int     // bytes up to the next difference; -1 at the start
}

var errSegment = errors.New("a segment outside of the data, or too many")

// fill makes the next bytes.
func (p *plain) fill(b []byte) error {
	for len(b) > 0 && p.in.err == nil {
		n := 0
		switch {
		case p.now.copied > 0:
			n = min(len(b), int(p.now.copied))
			if err := p.copied(b[:n]); err != nil {
				return err
			}
		case p.now.added > 0:
			n = min(len(b), int(p.now.added))
			p.in.s[added].bytes(b[:n])
			p.now.added -= uint32(n)
		default:
			if err := p.next(); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return p.in.err
}

// next goes on to the next segment.
func (p *plain) next() error {
	copied, more := p.in.s[lengths].number(MaxSize), p.in.s[lengths].number(MaxSize)
	old := p.end + p.in.s[moves].signed()
	if p.in.err != nil {
		return p.in.err
	}
	if p.count++; p.count > maxSegments || copied+more == 0 || old < 0 || old > p.old.size-int64(copied) {
		return errSegment
	}
	p.now = segment{uint32(old), uint32(copied), uint32(more)}
	p.end = old
	return nil
}

// copied makes bytes of the copied part of a segment.
func (p *plain) copied(b []byte) error {
	if err := p.old.readAt(b, p.end); err != nil {
		return err
	}
	p.end += int64(len(b))
	p.now.copied -= uint32(len(b))
	equals, different := &p.in.s[equals], &p.in.s[differences]
	if p.equal < 0 {
		p.equal = int(equals.number(MaxSize))
	}
	for p.equal < len(b) {
		b[p.equal] += different.byte()
		b = b[p.equal+1:]
		p.equal = int(equals.number(MaxSize))
	}
	p.equal -= len(b)
	return nil
}

// window reads old data that is in no frame, and keeps what was read last.
type window struct {
	r     io.ReaderAt
	parts []windowPart
	size  int64
	lines [windowLines]windowLine
}

// windowPart is a part of the old data between frames.
type windowPart struct {
	at, size int64 // counted without frames
	from     int64 // in the old data
}

type windowLine struct {
	at int64 // plus one; 0 if there is nothing
	b  []byte
}

const (
	lineSize    = 16 << 10
	windowLines = 128
)

// newWindow makes a window on size bytes of which the frames are left out.
func newWindow(r io.ReaderAt, size int64, frames []*frame) *window {
	w := &window{r: r}
	at := int64(0)
	add := func(end int64) {
		if end > at {
			w.parts = append(w.parts, windowPart{w.size, end - at, at})
			w.size += end - at
		}
	}
	for _, f := range frames {
		add(f.oldAt)
		at = f.oldAt + f.oldSize
	}
	add(size)
	return w
}

// readAt fills b with what is at off, which must be there.
func (w *window) readAt(b []byte, off int64) error {
	for len(b) > 0 {
		at := off / lineSize * lineSize
		line := &w.lines[at/lineSize%windowLines]
		if line.at != at+1 {
			if line.b == nil {
				line.b = make([]byte, lineSize)
			}
			line.at = 0
			if err := w.read(line.b[:min(lineSize, w.size-at)], at); err != nil {
				return err
			}
			line.at = at + 1
		}
		n := copy(b, line.b[off-at:min(lineSize, w.size-at)])
		b, off = b[n:], off+int64(n)
	}
	return nil
}

func (w *window) read(b []byte, off int64) error {
	i := sort.Search(len(w.parts), func(i int) bool { return w.parts[i].at > off }) - 1
	for ; len(b) > 0; i++ {
		p := &w.parts[i]
		n := int(min(int64(len(b)), p.at+p.size-off))
		if got, err := w.r.ReadAt(b[:n], p.from+off-p.at); got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
