package zframe

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// forward reads bits from the front, the lowest bit of a byte first. Behind
// the end it reads zeros.
type forward struct {
	b  []byte
	at int // bits
}

func (f *forward) peek(n int) uint32 {
	var v uint32
	for i := range 4 {
		if k := f.at/8 + i; k < len(f.b) {
			v |= uint32(f.b[k]) << (8 * i)
		}
	}
	return v >> (f.at % 8) & (1<<n - 1)
}

func (f *forward) skip(n int) { f.at += n }

func (f *forward) bits(n int) uint32 {
	v := f.peek(n)
	f.skip(n)
	return v
}

func (f *forward) bytes() int { return (f.at + 7) / 8 }

var errBits = errors.New("bad bit stream")

// backward reads bits from the end, where a 1 marks the last of them.
type backward struct {
	b    []byte
	left int // bits; negative once more were read than there are
}

func newBackward(b []byte) (*backward, error) {
	if len(b) == 0 || b[len(b)-1] == 0 {
		return nil, errBits
	}
	return &backward{b, len(b)*8 - 9 + bits.Len8(b[len(b)-1])}, nil
}

// peek gives the next n bits, at most 56, zeros behind the end.
func (r *backward) peek(n uint) uint64 {
	start := r.left - int(n)
	if start < 0 {
		if r.left <= 0 {
			return 0
		}
		return r.word(0) & (1<<r.left - 1) << -start
	}
	return r.word(start/8) >> (start % 8) & (1<<n - 1)
}

func (r *backward) word(at int) uint64 {
	if at+8 <= len(r.b) {
		return binary.LittleEndian.Uint64(r.b[at:])
	}
	var v uint64
	for i := len(r.b) - 1; i >= at; i-- {
		v = v<<8 | uint64(r.b[i])
	}
	return v
}

func (r *backward) bits(n uint) uint64 {
	v := r.peek(n)
	r.left -= int(n)
	return v
}

// bitWriter writes bits that a backward reader reads in reverse order.
type bitWriter struct {
	out []byte
	acc uint64
	n   uint
}

// add writes the low n bits of v, at most 32.
func (w *bitWriter) add(v uint64, n uint) {
	w.acc |= v & (1<<n - 1) << w.n
	w.n += n
	if w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

func (w *bitWriter) close() {
	w.add(1, 1)
	for w.acc > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
	w.n = 0
}
