package patch

import (
	"math/bits"

	"slipway/signing/payload/patch/zframe"
)

// guesser says what the old frame lets expect of the new one.
type guesser struct {
	old    cursor
	like   *likeness
	recent zframe.Recent // of the new frame
}

// guess is what is expected to follow a place: the next match of the old frame.
type guess struct {
	literals, length uint32
	code, offset     uint32 // of the old match
	source           int64  // of the old match, in the old content
	from, to         int64  // which of the literals the old frame has as well
	old              uint32 // the first of them in the old literals
}

func newGuesser(old *parse, like *likeness) *guesser {
	return &guesser{cursor{parse: old}, like, zframe.StartOffsets}
}

func (w *guesser) guess(place uint32) (g guess) {
	at := w.like.oldOf(place)
	if at < 0 || at > maxContent {
		return g
	}
	m, ok := w.old.seek(uint32(at))
	if !ok {
		return g
	}
	start := int64(w.old.start.at)
	g.from = start - at
	g.to = g.from + int64(m.literals())
	g.old = w.old.start.literal
	if g.from < 0 {
		g.old -= uint32(g.from)
		g.from = 0
	}
	g.literals, g.length = uint32(g.to), m.length()
	g.code, g.offset = m.code(), m.offset()
	g.source = start + int64(m.literals()) - int64(g.offset)
	return g
}

// both gives those of n literals that the old frame has as well, as a range,
// and what the old frame has.
func (w *guesser) both(g *guess, n int) (from, to int, old []byte) {
	from, to = int(min(g.from, int64(n))), int(min(g.to, int64(n)))
	if to > from {
		old = w.old.literals[g.old:][:to-from]
	}
	return from, to, old
}

// A choice says how a sequence follows from what was guessed: by two flags,
// and, above them, how its offset does.
const (
	otherLiterals = 1 << iota // than guessed
	otherLength

	how        = iota // bits below the way of the offset
	sameCode   = 0    // code of the old match; 1 to 3 are other codes of latest offsets
	sameSource = 4    // what became of the old match's source
	sameOffset = 5
	nearSource = 6 // likewise by the run before
	otherWay   = 7 // the code in full
)

// code gives the code of an offset that a way leads to, or 0 if it leads nowhere.
// place is where the match starts.
func (w *guesser) code(g *guess, way int, place int64, literals uint32) uint32 {
	offset := int64(0)
	switch way {
	case sameCode:
		return g.code
	case 1, 2, 3:
		return uint32(way)
	case sameOffset:
		offset = int64(g.offset)
	case sameSource, nearSource:
		before := 0
		if way == nearSource {
			before = 1
		}
		if to := w.like.newOf(g.source, before); to >= 0 {
			offset = place - to
		}
	}
	if offset <= 0 || offset > maxContent {
		return 0
	}
	return w.recent.Code(uint32(offset), literals)
}

// block writes a block whose content starts at a place.
func (o *output) block(w *guesser, b *zframe.Block, place uint32) {
	last := uint64(0)
	if b.Last {
		last = 1
	}
	o.number(blocks, uint64(b.Type)<<1|last)
	o.number(blocks, uint64(b.Size))
	left := b.Literals
	if b.Type == zframe.Compressed {
		o.number(blocks, uint64(b.LiteralsForm)<<2|uint64(b.LiteralsType))
		if b.LiteralsType == zframe.Compressed {
			o.text(blocks, b.Tree)
		}
		if o.number(blocks, uint64(len(b.Sequences))); len(b.Sequences) > 0 {
			o.byte(blocks, b.Modes)
			for k := range b.Tables {
				if describes(b.Modes, k) {
					o.text(blocks, b.Tables[k])
				}
			}
		}
		for _, s := range b.Sequences {
			g := w.guess(place)
			o.literals(w, &g, left[:s.Literals])
			left = left[s.Literals:]
			o.sequence(w, &g, s, place)
			place += s.Literals + s.Match
		}
	}
	g := w.guess(place)
	o.literals(w, &g, left)
}

// describes tells whether a block with these modes describes table k.
func describes(modes uint8, k int) bool {
	mode := zframe.Type(modes >> (6 - 2*k) & 3)
	return mode == zframe.RLE || mode == zframe.Compressed
}

func (o *output) literals(w *guesser, g *guess, fresh []byte) {
	from, to, old := w.both(g, len(fresh))
	o.bytes(literals, fresh[:from])
	for i, b := range fresh[from:to] {
		o.byte(literalDifferences, b-old[i])
	}
	o.bytes(literals, fresh[to:])
}

func (o *output) sequence(w *guesser, g *guess, s zframe.Sequence, place uint32) {
	choice := byte(0)
	if s.Literals != g.literals {
		choice |= otherLiterals
		o.number(literalLengths, uint64(s.Literals))
	}
	if s.Match != g.length {
		choice |= otherLength
		o.number(matchLengths, uint64(s.Match))
	}
	way := 0
	for way < otherWay && w.code(g, way, int64(place)+int64(s.Literals), s.Literals) != s.Code {
		way++
	}
	if way == otherWay {
		n := uint(bits.Len32(s.Code)) - 1
		o.byte(offsetSizes, byte(n))
		o.offset(s.Code, n)
	}
	o.byte(choices, choice|byte(way)<<how)
	w.recent.Offset(s)
}

// block reads a block whose content starts at a place. Its literals are put
// into buf.
func (in *input) block(w *guesser, b *zframe.Block, place uint32, buf []byte) error {
	head := in.s[blocks].number(1<<3 - 1)
	b.Last, b.Type = head&1 != 0, zframe.Type(head>>1)
	b.Size = int(in.s[blocks].number(zframe.MaxBlock))
	b.Literals, b.Sequences = buf[:0], b.Sequences[:0]
	left := b.Size
	switch b.Type {
	case zframe.RLE:
		left = 1
	case zframe.Compressed:
		form := in.s[blocks].number(1<<4 - 1)
		b.LiteralsType, b.LiteralsForm = zframe.Type(form&3), uint8(form>>2)
		b.Tree = nil
		if b.LiteralsType == zframe.Compressed {
			b.Tree = in.s[blocks].text(maxTable)
		}
		n := int(in.s[blocks].number(zframe.MaxBlock / 3))
		b.Tables = [3][]byte{}
		if n > 0 {
			b.Modes = in.s[blocks].byte()
			for k := range b.Tables {
				if describes(b.Modes, k) {
					b.Tables[k] = in.s[blocks].text(maxTable)
				}
			}
		}
		if in.err != nil {
			return in.err
		}
		for range n {
			g := w.guess(place)
			s := in.sequence(w, &g, place)
			if s.Match < 3 || uint64(s.Literals)+uint64(s.Match) > uint64(left) || w.recent.Offset(s) == 0 {
				return errParse
			}
			left -= int(s.Literals) + int(s.Match)
			b.Literals = in.literals(w, &g, b.Literals, int(s.Literals))
			b.Sequences = append(b.Sequences, s)
			place += s.Literals + s.Match
		}
	}
	g := w.guess(place)
	b.Literals = in.literals(w, &g, b.Literals, left)
	return in.err
}

// maxTable bounds the description of a table, in bytes.
const maxTable = 256

// literals appends n literals to b.
func (in *input) literals(w *guesser, g *guess, b []byte, n int) []byte {
	start := len(b)
	b = b[:start+n]
	fresh := b[start:]
	from, to, old := w.both(g, n)
	if to <= from {
		in.s[literals].bytes(fresh)
		return b
	}
	in.s[literals].bytes(fresh[:from])
	copy(fresh[from:to], old)
	in.s[literalDifferences].differences(fresh[from:to])
	in.s[literals].bytes(fresh[to:])
	return b
}

// sequence reads a sequence, which need not be a possible one.
func (in *input) sequence(w *guesser, g *guess, place uint32) zframe.Sequence {
	choice := in.s[choices].byte()
	s := zframe.Sequence{Literals: g.literals, Match: g.length}
	if choice&otherLiterals != 0 {
		s.Literals = uint32(in.s[literalLengths].number(zframe.MaxBlock))
	}
	if choice&otherLength != 0 {
		s.Match = uint32(in.s[matchLengths].number(zframe.MaxBlock))
	}
	way := int(choice >> how)
	if way != otherWay {
		s.Code = w.code(g, way, int64(place)+int64(s.Literals), s.Literals)
		return s
	}
	n := uint(in.s[offsetSizes].byte())
	if n > maxOffsetBits {
		in.s[offsetSizes].fail(errStream)
		return s
	}
	s.Code = 1<<n | in.offset(n)
	return s
}

// maxOffsetBits bounds the bits of an offset's code below the leading one.
const maxOffsetBits = 30
