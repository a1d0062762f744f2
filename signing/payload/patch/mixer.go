package patch

// mixer codes bits whose chance is judged by several contexts at once. Each
// context points to a slot that has learnt the chance of a 1; the judgements
// are weighted, in the logistic domain, by weights that learn which context to
// trust. All arithmetic is on integers, so that every machine has the same.
//
// The method is Mahoney's, "Adaptive Weighing of Context Models for Lossless
// Data Compression", Florida Tech TR CS-2005-16.
type mixer struct {
	inputs  int
	slots   []uint32 // chance << 10 | number of times updated
	mask    uint32
	weights []int32 // inputs for each selection, 65536 is 1

	base  [maxInputs]uint32 // hashed contexts, set by the caller
	at    [maxInputs]*uint32
	force [maxInputs]int32
	tab   *tables
}

const maxInputs = 8

// tables are functions that would be slow to work out for each bit.
type tables struct {
	stretch [4096]int16 // ln(x / (1-x)), x in 4096ths, in 256ths
	rate    [1024]int32 // 65536 / (n + 1.5)
}

func newTables() *tables {
	t := new(tables)
	at := 0
	for x := -2047; x <= 2047; x++ {
		v := squash(int32(x))
		for ; at <= int(v); at++ {
			t.stretch[at] = int16(x)
		}
	}
	for ; at < len(t.stretch); at++ {
		t.stretch[at] = 2047
	}
	for i := range t.rate {
		t.rate[i] = int32(65536 * 2 / (2*i + 3))
	}
	return t
}

// squash is 4096 / (1 + e^-(x/256)), interpolated between exact values.
func squash(x int32) int32 {
	if x > 2047 {
		return 4095
	}
	if x < -2047 {
		return 1
	}
	w := x & 127
	i := x>>7 + 16
	return (squashed[i]*(128-w) + squashed[i+1]*w + 64) >> 7
}

// squashed is squash at every 128th x from -2048 on.
var squashed = [34]int32{
	1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348,
	3607, 3785, 3901, 3975, 4024, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094, 4095,
}

func newMixer(t *tables, inputs, selections, bits int) *mixer {
	m := &mixer{
		inputs: inputs, slots: make([]uint32, 1<<bits), mask: 1<<bits - 1,
		weights: make([]int32, inputs*selections), tab: t,
	}
	for i := range m.slots {
		m.slots[i] = 1 << 31
	}
	for i := range m.weights {
		m.weights[i] = int32(65536 * 5 / 10)
	}
	return m
}

// hash mixes the numbers of a context; which tells contexts apart.
func hash(which, a, b uint32) uint32 {
	h := a*0x9e3779b1 ^ b*0x85ebca6b ^ which*0xc2b2ae35
	h ^= h >> 15
	h *= 0x2c1b3c6d
	return h ^ h>>13
}

// bit codes a bit. node tells apart the bits of one symbol, selection chooses
// the weights.
func (m *mixer) bit(c *coder, node uint32, selection int, bit int) int {
	w := m.weights[selection*m.inputs : (selection+1)*m.inputs]
	var dot int64
	for i := range w {
		h := m.base[i] + node*0x9e3779b1
		h ^= h >> 16
		p := &m.slots[h&m.mask]
		m.at[i] = p
		s := int32(m.tab.stretch[*p>>20])
		m.force[i] = s
		dot += int64(w[i]) * int64(s)
	}
	x := int32(max(min(dot>>16, 2047), -2047))
	p := squash(x)
	bit = c.bit(uint32(p)<<4|8, bit)

	miss := (int32(bit)<<12 - p) * 10
	target := int32(bit) * (1<<22 - 1)
	for i := range w {
		w[i] += (m.force[i]*miss + 0x2000) >> 14
		s := *m.at[i]
		n := s & 1023
		q := int32(s >> 10)
		q += int32(int64(target-q) * int64(m.tab.rate[n]) >> 16)
		if n < limitCount {
			n++
		}
		*m.at[i] = uint32(q)<<10 | n
	}
	return bit
}

// limitCount bounds how slowly a slot may learn.
const limitCount = 255

// symbol codes the bits of a byte, the highest first.
func (m *mixer) symbol(c *coder, selection int, v byte) byte {
	node := uint32(1)
	for i := 7; i >= 0; i-- {
		node = node<<1 | uint32(m.bit(c, node, selection, int(v>>i)&1))
	}
	return byte(node)
}

// likely foretells a symbol by the one that was seen last in its context:
// where that is right, one bit is coded instead of eight.
type likely struct {
	seen  []uint16 // by context: symbol << 8 | times it was right, up to 255
	right [256][2]chance
}

func newLikely(bits int) *likely {
	l := &likely{seen: make([]uint16, 1<<bits)}
	for i := range l.right {
		l.right[i] = [2]chance{even, even}
	}
	return l
}

// symbol codes a symbol in the context, and by the mixer if it is not the
// likely one.
func (l *likely) symbol(m *mixer, c *coder, context uint32, selection int, v byte) byte {
	s := &l.seen[context&uint32(len(l.seen)-1)]
	times, guess := *s&255, byte(*s>>8)
	if times > 0 {
		if c.adaptive(&l.right[times][0], boolBit(v == guess)) != 0 {
			if times < 255 {
				*s++
			}
			return guess
		}
	}
	v = m.symbol(c, selection, v)
	switch {
	case v == guess && times > 0: // not likely, but it may be
	case times > 2:
		*s = uint16(guess)<<8 | times/4
	default:
		*s = uint16(v)<<8 | 1
	}
	return v
}
