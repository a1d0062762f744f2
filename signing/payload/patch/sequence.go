package patch

import (
	"errors"
	"math/bits"

	"slipway/signing/payload/patch/zframe"
)

// parser codes what a compressor decided, given what another one, mostly of
// the same make, decided about content that is mostly the same.
type parser struct {
	c   *coder
	r   *run
	now *cursor // in the old frame's parse; nil if there is none

	old, fresh *frame
	recent     zframe.Recent
	hits       uint32 // latest outcomes, a bit each

	hit                    *mixer
	flags                  [64]chance
	modes                  [256]chance
	literals, matches, raw []number
	sizes                  []number
	tables                 *mixer
	seen                   *history
	repeat                 [4][16][4]chance
	near                   [16][4]chance
}

func newParser(r *run, t *tables) *parser {
	p := &parser{
		c: r.c, r: r,
		hit:      newMixer(t, 6, 16, 16),
		literals: newNumbers(64), matches: newNumbers(64), raw: newNumbers(16), sizes: newNumbers(8),
		tables: newMixer(t, 4, 8, 14),
	}
	for i := range p.flags {
		p.flags[i] = even
	}
	for i := range p.modes {
		p.modes[i] = even
	}
	for i := range p.repeat {
		for k := range p.repeat[i] {
			p.repeat[i][k] = [4]chance{even, even, even, even}
		}
	}
	for i := range p.near {
		p.near[i] = [4]chance{even, even, even, even}
	}
	p.seen = newHistory()
	return p
}

// start begins a frame. old is the frame it is like, or nil.
func (p *parser) start(old, fresh *frame) {
	p.old, p.fresh, p.recent, p.now = old, fresh, zframe.StartOffsets, nil
	p.seen.reset()
	if old != nil {
		p.now = &cursor{p: &old.parse}
	}
}

// few codes a number of a few bits.
func (p *parser) few(m []chance, n int, v uint8) uint8 {
	node := 1
	for i := n - 1; i >= 0; i-- {
		node = node<<1 | p.c.adaptive(&m[node], int(v>>i)&1)
	}
	return uint8(node - 1<<n)
}

// head codes what is known of a block before its content.
func (p *parser) head(b *zframe.Block) {
	b.Last = p.c.adaptive(&p.flags[0], boolBit(b.Last)) != 0
	b.Type = zframe.Type(p.few(p.flags[4:8], 2, uint8(b.Type)))
	if p.c.adaptive(&p.flags[1], boolBit(b.Size == zframe.MaxBlock)) != 0 {
		b.Size = zframe.MaxBlock
	} else {
		b.Size = int(p.c.number(&p.sizes[0], uint32(b.Size)))
	}
}

var errParse = errors.New("impossible sequences")

// rest codes the decisions of a block. at is the place of its content in the
// new frame's.
func (p *parser) rest(b *zframe.Block, at uint32, content []byte) error {
	p.seen.append(content)
	if b.Type != zframe.Compressed {
		p.seen.pass(int64(at) + int64(b.Size))
		return nil
	}
	b.Literals = zframe.Type(p.few(p.flags[8:12], 2, uint8(b.Literals)))
	b.LiteralsForm = p.few(p.flags[12+4*int(b.Literals):], 2, b.LiteralsForm)
	if b.Literals == zframe.Compressed {
		b.Tree = p.bytes(b.Tree, 0)
	}
	n := p.c.number(&p.sizes[1], uint32(len(b.Sequences)))
	if n > zframe.MaxBlock/3 {
		return errParse
	}
	if n == 0 {
		return nil
	}
	b.Modes = p.few(p.modes[:], 8, b.Modes)
	for k := range b.Tables {
		if mode := zframe.Type(b.Modes >> (6 - 2*k) & 3); mode == zframe.RLE || mode == zframe.Compressed {
			b.Tables[k] = p.bytes(b.Tables[k], k+1)
		}
	}
	end := at + uint32(b.Size)
	if p.c.decoding() {
		b.Sequences = b.Sequences[:0]
	}
	for i := range int(n) {
		var s zframe.Sequence
		if !p.c.decoding() {
			s = b.Sequences[i]
		}
		if err := p.sequence(&s, at, end); err != nil {
			return err
		}
		if p.c.decoding() {
			b.Sequences = append(b.Sequences, s)
		}
		at += s.Literals + s.Match
	}
	return nil
}

// bytes codes a description of a table.
func (p *parser) bytes(b []byte, kind int) []byte {
	n := p.c.number(&p.sizes[2+kind], uint32(len(b)))
	if p.c.decoding() {
		b = make([]byte, min(n, 256))
	}
	m := p.tables
	last, last2 := uint32(0), uint32(0)
	for i := range b {
		m.base[0] = hash(31, uint32(kind), uint32(i))
		m.base[1] = hash(32, uint32(kind)|last<<8, uint32(i))
		m.base[2] = hash(33, uint32(kind)|last<<8|last2<<16, 0)
		m.base[3] = hash(34, uint32(kind), last)
		b[i] = m.symbol(p.c, kind, b[i])
		last, last2 = uint32(b[i]), last
	}
	return b
}

// guess is what the old parse says about the next match.
type guess struct {
	literals, match uint32
	offset          uint32 // if far, else 0
	synced          bool   // old sequences end and start here as well
	known           bool
}

func (p *parser) guess(at uint32) guess {
	if p.now == nil {
		return guess{}
	}
	q := p.r.oldOf(p.fresh.base+int64(at)) - p.old.base
	if q < 0 || q >= p.old.length {
		return guess{}
	}
	m, ok := p.now.seek(uint32(q))
	if !ok {
		return guess{}
	}
	g := guess{literals: m.at - uint32(q), match: m.n, synced: m.start == uint32(q), known: true}
	if m.offset != 0 {
		source := p.r.newOf(p.old.base+int64(m.at-m.offset)) - p.fresh.base
		offset := int64(at) + int64(g.literals) - source
		if offset > 0 && offset <= int64(at)+int64(g.literals) {
			g.offset = uint32(offset)
		}
	}
	return g
}

// sequence codes one sequence that starts at a place and ends before end.
func (p *parser) sequence(s *zframe.Sequence, at, end uint32) error {
	g := p.guess(at)
	hit := false
	if g.known {
		p.contexts(&g, at)
		is := s.Literals == g.literals && s.Match == g.match
		hit = p.hit.bit(p.c, 1, int(p.hits&3)|boolBit(g.synced)<<2, boolBit(is)) != 0
		p.hits = p.hits<<1 | uint32(boolBit(!hit))
	}
	if hit {
		s.Literals, s.Match = g.literals, g.match
	} else {
		p.missed(s, &g)
	}
	if s.Match < 3 || uint64(s.Literals)+uint64(s.Match) > uint64(end-at) {
		return errParse
	}
	p.offset(s, &g, int64(at)+int64(s.Literals))
	if p.recent.Offset(*s) == 0 {
		return errParse
	}
	return nil
}

// contexts sets the contexts of a hit.
func (p *parser) contexts(g *guess, at uint32) {
	h := p.hit
	base := p.fresh.base + int64(at)
	ahead := p.r.changed(base, int64(g.literals))
	match := p.r.changed(base+int64(g.literals), int64(g.match)+1)
	behind := p.r.changed(base+int64(g.literals)+int64(g.match)+1, 16)
	before := p.r.changed(base-16, 16)
	sync := uint32(boolBit(g.synced))
	changes := ahead | match<<2 | behind<<4 | before<<6 | sync<<8
	h.base[0] = hash(41, changes, p.hits&1)
	h.base[1] = hash(42, p.hits&0xff, sync)
	h.base[2] = hash(43, min(g.match, 40)|min(g.literals, 20)<<8, sync)
	h.base[3] = hash(44, changes, min(g.match, 40)|p.hits&7<<8)
	h.base[4] = hash(45, min(g.match, 20)<<8|min(g.literals, 20), changes)
	h.base[5] = hash(46, changes, uint32(bits.Len32(g.literals))|p.hits&0xf<<8)
}

// missed codes the lengths of a sequence that is not as guessed.
func (p *parser) missed(s *zframe.Sequence, g *guess) {
	c := p.c
	flags := p.flags[28:]
	state := boolBit(g.synced) | int(p.hits&2)
	if g.known && c.adaptive(&flags[state], boolBit(s.Literals == g.literals)) != 0 {
		s.Literals = g.literals
	} else {
		s.Literals = c.number(&p.literals[min(g.literals, 31)|uint32(boolBit(g.known))<<5], s.Literals)
	}
	same := g.known && s.Literals == g.literals
	if g.known && !same && c.adaptive(&flags[8+state&2], boolBit(s.Match == g.match)) != 0 {
		s.Match = g.match
	} else {
		s.Match = c.number(&p.matches[min(g.match, 31)|uint32(boolBit(same))<<5], s.Match)
	}
}

// offset codes the offset of a match whose place and length are known.
func (p *parser) offset(s *zframe.Sequence, g *guess, place int64) {
	c := p.c
	recent := p.recent
	size := min(s.Match, 15)
	behind := uint32(0)
	for code := uint32(1); code <= 3; code++ {
		after := recent
		offset := after.Offset(zframe.Sequence{Literals: s.Literals, Match: s.Match, Code: code})
		equal, known := p.seen.holds(place, offset, s.Match)
		if offset == 0 || known && !equal && int64(offset) <= reach {
			continue
		}
		if !known && !equal {
			continue
		}
		m := &p.repeat[code&3][size][boolBit(equal)|boolBit(s.Literals == 0)<<1]
		if c.adaptive(m, boolBit(s.Code == code)) != 0 {
			s.Code = code
			return
		}
		behind++
	}
	if near := p.seen.nearest(place, s.Match); near != 0 {
		if c.adaptive(&p.near[size][min(behind, 3)], boolBit(s.Code == near+3)) != 0 {
			s.Code = near + 3
			return
		}
	}
	if g.offset != 0 {
		if c.adaptive(&p.flags[40], boolBit(s.Code == g.offset+3)) != 0 {
			s.Code = g.offset + 3
			return
		}
	}
	s.Code = c.number(&p.raw[0], s.Code-1) + 1
}
