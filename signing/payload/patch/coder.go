package patch

import (
	"errors"
	"io"
)

// coder is an arithmetic coder of bits whose chances both sides know. The same
// code that models the data runs in both directions: an encoder codes the bit
// it is given, a decoder ignores that and returns the bit it finds.
//
// Bytes are written as soon as both ends of the interval agree on them; the
// interval's ends start at 0 and 2^32-1.
type coder struct {
	low, high uint32
	value     uint32 // decoder: the next four bytes

	out []byte        // encoder: what was written
	in  io.ByteReader // decoder: nil in an encoder
	end int           // decoder: bytes read behind the end of in
	err error         // decoder: the first error of in
}

// slack is how many bytes a decoder may look behind the end of its input: it
// reads four bytes ahead.
const slack = 4

var errShort = errors.New("ends too early")

func newEncoder() *coder { return &coder{high: 1<<32 - 1} }

func newDecoder(r io.ByteReader) *coder {
	c := &coder{high: 1<<32 - 1, in: r}
	for range 4 {
		c.value = c.value<<8 | uint32(c.read())
	}
	return c
}

func (c *coder) decoding() bool { return c.in != nil }

func (c *coder) read() byte {
	if c.end == 0 && c.err == nil {
		b, err := c.in.ReadByte()
		if err == nil {
			return b
		}
		if !errors.Is(err, io.EOF) {
			c.err = err
		}
	}
	if c.end++; c.end > slack && c.err == nil {
		c.err = errShort
	}
	return 0
}

// bit codes one bit; p is the chance of a 1 in 65536ths, 0 < p < 65536.
func (c *coder) bit(p uint32, bit int) int {
	middle := c.low + uint32(uint64(c.high-c.low)*uint64(p)>>16)
	if c.in != nil {
		bit = 0
		if c.value <= middle {
			bit = 1
		}
	}
	if bit != 0 {
		c.high = middle
	} else {
		c.low = middle + 1
	}
	for (c.low^c.high)>>24 == 0 {
		if c.in != nil {
			c.value = c.value<<8 | uint32(c.read())
		} else {
			c.out = append(c.out, byte(c.high>>24))
		}
		c.low <<= 8
		c.high = c.high<<8 | 255
	}
	return bit
}

// finish ends the encoder's output.
func (c *coder) finish() []byte {
	return append(c.out, byte(c.low>>24)+1)
}

// chance is the adaptive chance of a 1 in 65536ths.
type chance uint16

const even chance = 1 << 15

// adaptive codes a bit by a chance that learns from it.
func (c *coder) adaptive(p *chance, bit int) int {
	bit = c.bit(max(uint32(*p), 1), bit)
	if bit != 0 {
		*p += (65535 - *p) >> 4
	} else {
		*p -= *p >> 4
	}
	return bit
}

// number is a model of unsigned numbers: the count of their bits as a unary
// sequence, the three bits below the leading one by chances, the rest as is.
type number struct {
	size [33]chance
	top  [33][8]chance
}

func newNumbers(n int) []number {
	all := make([]number, n)
	for i := range all {
		for j := range all[i].size {
			all[i].size[j] = even
			for k := range all[i].top[j] {
				all[i].top[j][k] = even
			}
		}
	}
	return all
}

// number codes a number below 2^32 - 1.
func (c *coder) number(m *number, v uint32) uint32 {
	v++
	size := 0
	if !c.decoding() {
		for v>>size > 1 {
			size++
		}
	}
	n := 0
	for n < 31 && c.adaptive(&m.size[n], boolBit(n < size)) != 0 {
		n++
	}
	result, node := uint32(1), 1
	for i := n - 1; i >= 0; i-- {
		bit := int(v>>i) & 1
		if node < 8 {
			bit = c.adaptive(&m.top[n][node], bit)
			node = node<<1 | bit
		} else {
			bit = c.bit(1<<15, bit)
		}
		result = result<<1 | uint32(bit)
	}
	return result - 1
}

func boolBit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
