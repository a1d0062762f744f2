package patch

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"slipway/signing/payload/patch/zframe"
)

// parse keeps what a compressor made of the content of a frame: matches, each
// with the literals in front of it. A place is one in the content.
type parse struct {
	matches  []match
	literals []byte
	marks    []mark // of each match whose number is a multiple of markEvery
}

// match is a number of literals and the match behind them, packed: from the
// top the offset, its code if it is that of one of the latest, the length of
// the match, and the number of literals.
type match uint64

const (
	codeAt, lengthAt, offsetAt = literalCount, literalCount + 2, literalCount + 2 + 18

	literalCount = 17 // bits
	manyLiterals = 1<<literalCount - 1
	longOffset   = maxContent - 1
)

func (m match) literals() uint32 { return uint32(m) & manyLiterals }
func (m match) code() uint32     { return uint32(m>>codeAt) & 3 }
func (m match) length() uint32   { return uint32(m>>lengthAt) & (1<<18 - 1) }
func (m match) offset() uint32   { return uint32(m >> offsetAt) }

// mark is where the literals of a match start: the place, and in the literals
// of the parse.
type mark struct{ at, literal uint32 }

const (
	markEvery   = 64
	matchMemory = 8 // bytes
	markMemory  = 8
)

// errParse is about frames that are as the format allows, but as no compressor
// makes them.
var errParse = errors.New("unusual frame")

// unpack reads a frame from r. It calls each with every block, and gives the
// size of the frame in bytes.
func (p *parse) unpack(r io.Reader, each func(*zframe.Block) error) (size int64, err error) {
	z, err := zframe.NewReader(r)
	if err != nil {
		return 0, err
	}
	u := unpacking{parse: p, recent: zframe.StartOffsets}
	for {
		if err := z.Next(&u.b); err == io.EOF {
			u.push(u.pending, 0, 0, 0)
			return z.Size(), nil
		} else if err != nil {
			return 0, err
		}
		if err := each(&u.b); err != nil {
			return 0, err
		}
		if err := u.block(); err != nil {
			return 0, err
		}
	}
}

// unpacking is a run of unpack.
type unpacking struct {
	*parse
	b       zframe.Block
	recent  zframe.Recent
	start   mark   // of the next match
	pending uint32 // literals since the last match
}

// block adds a block.
func (u *unpacking) block() error {
	b := &u.b
	if int64(u.start.at)+int64(u.pending)+int64(b.Size) > maxContent {
		return fmt.Errorf("a frame of more than %d bytes of content", maxContent)
	}
	u.parse.literals = append(u.parse.literals, b.Literals...)
	if b.Type == zframe.RLE {
		if b.Size == 0 {
			return errParse
		}
		u.add(1, uint32(b.Size-1), 0, 0)
		return nil
	}
	literals, place := uint32(len(b.Literals)), u.start.at+u.pending
	for _, s := range b.Sequences {
		literals -= s.Literals
		offset := u.recent.Offset(s)
		if place += s.Literals; offset == 0 || offset > place {
			return errParse
		}
		place += s.Match
		code := s.Code
		if code > 3 {
			code = 0
		}
		u.add(s.Literals, s.Match, code, offset)
	}
	u.add(literals, 0, 0, 0)
	return nil
}

// add adds literals and a match; without a match the literals wait for one.
func (u *unpacking) add(literals, length, code, offset uint32) {
	if u.pending+literals > manyLiterals {
		u.push(u.pending, 0, 0, 0)
		u.pending = 0
	}
	if u.pending += literals; length > 0 {
		u.push(u.pending, length, code, min(offset, longOffset))
		u.pending = 0
	}
}

func (u *unpacking) push(literals, length, code, offset uint32) {
	if len(u.matches)%markEvery == 0 {
		u.marks = append(u.marks, u.start)
	}
	m := match(offset)<<offsetAt | match(length)<<lengthAt | match(code)<<codeAt | match(literals)
	u.matches = append(u.matches, m)
	u.start.at += literals + length
	u.start.literal += literals
}

// cursor walks over a parse.
type cursor struct {
	*parse
	next   int    // number of the match at hand
	start  mark   // of it
	before uint32 // where the match before it starts
}

// seek finds the first match that starts at a place or behind it.
func (c *cursor) seek(place uint32) (match, bool) {
	if place <= c.before || place > c.start.at+1<<12 {
		i := sort.Search(len(c.marks), func(i int) bool { return c.marks[i].at > place }) - 1
		if i < 0 {
			return 0, false
		}
		c.next, c.start, c.before = i*markEvery, c.marks[i], c.marks[i].at
	}
	for c.next < len(c.matches) {
		m := c.matches[c.next]
		at := c.start.at + m.literals()
		if at >= place {
			return m, true
		}
		c.start = mark{at + m.length(), c.start.literal + m.literals()}
		c.before = at
		c.next++
	}
	return 0, false
}

// likeness says which content of two frames is alike, in runs.
type likeness struct {
	runs  []likeRun // by place in the new frame; the first is at 0
	byOld []uint32  // runs by place in the old frame
	near  []uint32  // in byOld: the first run behind each nearUnit of the old content
	now   int       // run that oldOf found last
}

// likeRun is where a run starts.
type likeRun struct{ at, old uint32 }

const (
	runMemory = 8 + 4 // bytes
	nearBits  = 12
	nearUnit  = 1 << nearBits
)

func newLikeness(runs []likeRun) *likeness {
	l := &likeness{runs: runs, byOld: make([]uint32, len(runs))}
	for i := range runs {
		l.byOld[i] = uint32(i)
	}
	slices.SortFunc(l.byOld, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(runs[a].old, runs[b].old), cmp.Compare(a, b))
	})
	for i, r := range l.byOld {
		for uint32(len(l.near))<<nearBits < runs[r].old {
			l.near = append(l.near, uint32(i))
		}
	}
	return l
}

// oldOf gives the place in the old content that one in the new comes from.
func (l *likeness) oldOf(place uint32) int64 {
	if l.runs[l.now].at > place {
		l.now = 0
	}
	for l.now+1 < len(l.runs) && l.runs[l.now+1].at <= place {
		l.now++
	}
	r := l.runs[l.now]
	return int64(r.old) + int64(place) - int64(r.at)
}

// newOf gives the place in the new content that one in the old goes to, if it
// belongs to the run whose start is the nearest one before it, or to the one
// before that.
func (l *likeness) newOf(place int64, before int) int64 {
	if place < 0 {
		return -1
	}
	from, to := len(l.byOld), len(l.byOld)
	if unit := place >> nearBits; unit < int64(len(l.near)) {
		from = int(l.near[unit])
		if unit+1 < int64(len(l.near)) {
			to = int(l.near[unit+1])
		}
	}
	for from < to {
		middle := (from + to) / 2
		if int64(l.runs[l.byOld[middle]].old) <= place {
			from = middle + 1
		} else {
			to = middle
		}
	}
	if from -= 1 + before; from < 0 {
		return -1
	}
	r := l.runs[l.byOld[from]]
	return int64(r.at) + place - int64(r.old)
}
