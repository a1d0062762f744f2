package xz

import "encoding/binary"

// The model of LZMA, as the LZMA specification in Igor Pavlov's LZMA SDK
// describes it.
const (
	states       = 12
	maxPosStates = 1 << 4
	literalSize  = 0x300
	maxLiterals  = 1 << 4 // lc + lp is at most 4 in LZMA2

	probInit  = 1 << 10
	probBits  = 11
	probMove  = 5
	probUp    = 1<<32 + 31 - 1<<11 // 31-2048, turns rounding round for a probability that grows
	normalize = 1 << 24

	minMatch       = 2
	endPosModel    = 14
	alignBits      = 4
	distanceSlots  = 64
	distanceStates = 4
)

// lengthModel decodes the length of a match.
type lengthModel struct {
	choice [2]uint16
	low    [maxPosStates][8]uint16
	mid    [maxPosStates][8]uint16
	high   [256]uint16
}

// lzma is the state that lives from chunk to chunk.
type lzma struct {
	lc      uint
	lpMask  int
	posMask int

	state   int
	rep     [4]int // the last four distances; 0 is the byte before
	isMatch [states][maxPosStates]uint16
	isRep   [states]uint16
	isRepG0 [states]uint16
	isRepG1 [states]uint16
	isRepG2 [states]uint16
	isLong0 [states][maxPosStates]uint16
	slot    [distanceStates][distanceSlots]uint16
	special [128]uint16
	align   [1 << alignBits]uint16
	match   lengthModel
	again   lengthModel
	literal [maxLiterals][literalSize]uint16
}

// setProps reads the byte of lc, lp and pb.
func (l *lzma) setProps(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	lc, lp, pb := b%9, b/9%5, b/45
	if lc+lp > 4 {
		return false
	}
	l.lc, l.lpMask, l.posMask = uint(lc), 1<<lp-1, 1<<pb-1
	return true
}

// resetState makes all bits equally likely.
func (l *lzma) resetState() {
	l.state, l.rep = 0, [4]int{}
	for s := range states {
		fill(l.isMatch[s][:])
		fill(l.isLong0[s][:])
	}
	for _, p := range [...][]uint16{
		l.isRep[:], l.isRepG0[:], l.isRepG1[:], l.isRepG2[:], l.special[:], l.align[:],
	} {
		fill(p)
	}
	for i := range l.slot {
		fill(l.slot[i][:])
	}
	for i := range l.literal {
		fill(l.literal[i][:])
	}
	l.match.reset()
	l.again.reset()
}

func (m *lengthModel) reset() {
	fill(m.choice[:])
	for i := range m.low {
		fill(m.low[i][:])
		fill(m.mid[i][:])
	}
	fill(m.high[:])
}

func fill(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

// coder is the range decoder. It goes through functions by value, so that it
// stays in registers. Reading beyond the chunk is harmless and found at its
// end.
type coder struct {
	rng, code uint32
	at        int
}

// bit decodes one bit with its own probability.
func (c coder) bit(in *[inputSize]byte, prob *uint16) (bool, coder) {
	if c.rng < normalize {
		c.rng <<= 8
		c.code = c.code<<8 | uint32(in[c.at&(inputSize-1)])
		c.at++
	}
	p := uint32(*prob)
	bound := (c.rng >> probBits) * p
	if c.code < bound {
		c.rng = bound
		*prob = uint16(p + (1<<probBits-p)>>probMove)
		return false, c
	}
	c.rng -= bound
	c.code -= bound
	*prob = uint16(p - p>>probMove)
	return true, c
}

// tree decodes len(probs) = 2^n as n bits, most significant first, and gives
// 2^n + value. Literals are hard to foresee, so it does without branches on
// their bits.
func (c coder) tree(in *[inputSize]byte, probs []uint16) (int, coder) {
	rng, code, at := c.rng, c.code, c.at
	m := uint(1)
	for m < uint(len(probs)) {
		if rng < normalize {
			rng <<= 8
			code = code<<8 | uint32(in[at&(inputSize-1)])
			at++
		}
		p := uint32(probs[m])
		bound := (rng >> probBits) * p
		zero := uint32((int64(code) - int64(bound)) >> 63) // all ones if the bit is 0
		rng = rng - bound + zero&(2*bound-rng)
		code -= bound &^ zero
		probs[m] = uint16(int32(p) - (int32(p)+int32(zero&probUp))>>probMove)
		m = m<<1 + uint(1+zero)
	}
	return int(m), coder{rng, code, at}
}

// reverseTree decodes n bits, least significant first.
func (c coder) reverseTree(in *[inputSize]byte, probs []uint16, n int) (int, coder) {
	m, value := 1, 0
	for i := range n {
		var one bool
		one, c = c.bit(in, &probs[m])
		m <<= 1
		if one {
			m |= 1
			value |= 1 << i
		}
	}
	return value, c
}

// direct decodes n bits without a model.
func (c coder) direct(in *[inputSize]byte, n int) (int, coder) {
	value := 0
	for range n {
		if c.rng < normalize {
			c.rng <<= 8
			c.code = c.code<<8 | uint32(in[c.at&(inputSize-1)])
			c.at++
		}
		c.rng >>= 1
		c.code -= c.rng
		sign := c.code >> 31 // 1: the bit is 0
		c.code += c.rng & -sign
		value = value<<1 + int(1-sign)
	}
	return value, c
}

// length decodes a match's length.
func (m *lengthModel) length(c coder, in *[inputSize]byte, posState int) (int, coder) {
	long, c := c.bit(in, &m.choice[0])
	if !long {
		n, c := c.tree(in, m.low[posState][:])
		return n - 8 + minMatch, c
	}
	longer, c := c.bit(in, &m.choice[1])
	if !longer {
		n, c := c.tree(in, m.mid[posState][:])
		return n - 8 + minMatch + 8, c
	}
	n, c := c.tree(in, m.high[:])
	return n - 256 + minMatch + 16, c
}

// distance decodes how far a match goes back, less 1.
func (l *lzma) distance(c coder, in *[inputSize]byte, length int) (int, coder) {
	slot, c := c.tree(in, l.slot[min(length-minMatch, distanceStates-1)][:])
	slot -= distanceSlots
	if slot < 4 {
		return slot, c
	}
	n := slot>>1 - 1
	d := (2 | slot&1) << n
	if slot < endPosModel {
		low, c := c.reverseTree(in, l.special[d-slot:], n)
		return d + low, c
	}
	high, c := c.direct(in, n-alignBits)
	low, c := c.reverseTree(in, l.align[:], alignBits)
	return d + high<<alignBits + low, c
}

// decode fills window[pos:end] from one chunk of packed bytes. Positions count
// from origin, and matches go back to it or to the beginning of the window.
// False stands for corrupt data.
func (l *lzma) decode(window []byte, origin, pos, end int, in *[inputSize]byte, packed int) bool {
	if packed < 5 || in[0] != 0 {
		return false
	}
	c := coder{rng: ^uint32(0), code: binary.BigEndian.Uint32(in[1:5]), at: 5}
	state, rep0, rep1, rep2, rep3 := l.state, l.rep[0], l.rep[1], l.rep[2], l.rep[3]
	first := max(origin, 0)
	var one bool
	for pos < end {
		posState := (pos - origin) & l.posMask
		one, c = c.bit(in, &l.isMatch[state][posState])
		if !one {
			pos, c = l.writeLiteral(c, in, window, origin, pos, state, rep0)
			state = afterLiteral(state)
			continue
		}
		var length int
		one, c = c.bit(in, &l.isRep[state])
		if !one {
			rep3, rep2, rep1 = rep2, rep1, rep0
			length, c = l.match.length(c, in, posState)
			rep0, c = l.distance(c, in, length)
			state = afterMatch(state, 7)
		} else {
			one, c = c.bit(in, &l.isRepG0[state])
			if !one {
				one, c = c.bit(in, &l.isLong0[state][posState])
				if !one {
					if rep0 >= pos-first {
						return false
					}
					state = afterMatch(state, 9)
					window[pos] = window[pos-rep0-1]
					pos++
					continue
				}
			} else {
				one, c = c.bit(in, &l.isRepG1[state])
				if !one {
					rep0, rep1 = rep1, rep0
				} else {
					one, c = c.bit(in, &l.isRepG2[state])
					if !one {
						rep0, rep1, rep2 = rep2, rep0, rep1
					} else {
						rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
					}
				}
			}
			length, c = l.again.length(c, in, posState)
			state = afterMatch(state, 8)
		}
		if rep0 >= pos-first || length > end-pos {
			return false
		}
		repeat(window, pos, rep0+1, length)
		pos += length
	}
	l.state, l.rep = state, [4]int{rep0, rep1, rep2, rep3}
	// The encoder flushes so that the decoder ends with code 0 at the last byte.
	if c.rng < normalize {
		c.code = c.code<<8 | uint32(in[c.at&(inputSize-1)])
		c.at++
	}
	return c.at == packed && c.code == 0
}

// afterLiteral and afterMatch are the state machine of LZMA. kind is the state
// after a literal and then a match (7), a repeated match (8), one byte (9).
func afterLiteral(state int) int {
	switch {
	case state < 4:
		return 0
	case state < 10:
		return state - 3
	}
	return state - 6
}

func afterMatch(state, kind int) int {
	if state < 7 {
		return kind
	}
	if kind == 7 {
		return 10
	}
	return 11
}

// writeLiteral decodes one byte.
func (l *lzma) writeLiteral(c coder, in *[inputSize]byte, window []byte, origin, pos, state, rep0 int) (int, coder) {
	before := 0
	if pos > max(origin, 0) {
		before = int(window[pos-1])
	}
	i := ((pos-origin)&l.lpMask)<<l.lc | before>>(8-l.lc)
	probs := &l.literal[i&(maxLiterals-1)]
	if state < 7 || rep0 >= pos-max(origin, 0) {
		m, c := c.tree(in, probs[:256])
		window[pos] = byte(m)
		return pos + 1, c
	}
	m, c := c.matchedLiteral(in, probs, uint(window[pos-rep0-1]))
	window[pos] = m
	return pos + 1, c
}

// matchedLiteral decodes a byte that is known to differ from expected.
func (c coder) matchedLiteral(in *[inputSize]byte, probs *[literalSize]uint16, expected uint) (byte, coder) {
	rng, code, at := c.rng, c.code, c.at
	m, offset := uint(1), uint(0x100)
	for m < 0x100 {
		if rng < normalize {
			rng <<= 8
			code = code<<8 | uint32(in[at&(inputSize-1)])
			at++
		}
		expected <<= 1
		wanted := expected & offset
		i := offset + wanted + m
		p := uint32(probs[i])
		bound := (rng >> probBits) * p
		zero := uint32((int64(code) - int64(bound)) >> 63)
		rng = rng - bound + zero&(2*bound-rng)
		code -= bound &^ zero
		probs[i] = uint16(int32(p) - (int32(p)+int32(zero&probUp))>>probMove)
		m = m<<1 + uint(1+zero)
		// What was expected stays of use as long as it comes true.
		offset &= wanted ^ uint(zero)
	}
	return byte(m), coder{rng, code, at}
}

// repeat copies n bytes from distance bytes before pos; they may overlap. It
// may write up to slack bytes more.
func repeat(window []byte, pos, distance, n int) {
	from := pos - distance
	if distance >= 8 {
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(window[pos+i:], binary.LittleEndian.Uint64(window[from+i:]))
		}
		return
	}
	dst, src := window[pos:pos+n], window[from:from+n]
	for i := range dst {
		dst[i] = src[i]
	}
}
