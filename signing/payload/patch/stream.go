package patch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The streams of a patch, in their order.
const (
	// Of data that is in no frame: how many bytes are copied and added, and how
	// far the source has moved; how many copied bytes are equal up to the next
	// that is not; differences (new minus old byte); bytes added.
	lengths = iota
	moves
	equals
	differences
	added

	// Of frames: what is alike; blocks but for their sequences; how a sequence
	// follows from an old one; what does not follow of its literals, its match,
	// the number of bits of its offset and the bits themselves; literals where
	// the old frame has some, as differences, and elsewhere.
	runs
	blocks
	choices
	literalLengths
	matchLengths
	offsetSizes
	offsetBits
	literalDifferences
	literals

	streams
)

// maxPiece bounds the pieces of streams, in bytes.
const maxPiece = 256 << 10

// output are the streams of a patch that is being made.
type output struct {
	b    [streams][]byte
	acc  uint64 // of offsetBits
	bits uint
}

func (o *output) byte(s int, v byte)      { o.b[s] = append(o.b[s], v) }
func (o *output) bytes(s int, v []byte)   { o.b[s] = append(o.b[s], v...) }
func (o *output) number(s int, v uint64)  { o.b[s] = binary.AppendUvarint(o.b[s], v) }
func (o *output) signed(s int, v int64)   { o.b[s] = binary.AppendVarint(o.b[s], v) }
func (o *output) text(s int, text []byte) { o.number(s, uint64(len(text))); o.bytes(s, text) }

// offset writes the bits of an offset below the leading one.
func (o *output) offset(v uint32, n uint) {
	o.acc |= uint64(v) & (1<<n - 1) << o.bits
	for o.bits += n; o.bits >= 8; o.bits -= 8 {
		o.byte(offsetBits, byte(o.acc))
		o.acc >>= 8
	}
}

// pack gives the packed streams and their sizes.
func (o *output) pack() (packed []byte, sizes [streams]int64, err error) {
	if o.bits > 0 {
		o.byte(offsetBits, byte(o.acc))
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, sizes, fmt.Errorf("internal error: zstd encoder: %w", err)
	}
	defer e.Close()
	for i, b := range o.b {
		start := len(packed)
		for len(b) > 0 {
			part := b[:min(len(b), maxPiece)]
			b = b[len(part):]
			small := e.EncodeAll(part, nil)
			if len(small) >= len(part) {
				small = part
			}
			packed = binary.AppendUvarint(packed, uint64(len(part)))
			packed = binary.AppendUvarint(packed, uint64(len(small)))
			packed = append(packed, small...)
		}
		sizes[i] = int64(len(packed) - start)
	}
	return packed, sizes, nil
}

// input are the streams of a patch that is being applied. Behind the end of a
// stream, or if it is damaged, there are zeros, and err says so.
type input struct {
	s    [streams]stream
	d    *zstd.Decoder
	err  error
	acc  uint64 // of offsetBits
	bits uint
}

// stream is one stream of an input.
type stream struct {
	in     *input
	packed []byte // pieces to come
	b      []byte // the present piece
	at     int    // in b
	size   int    // of the present piece in the patch
	buf    []byte
}

func newInput(b []byte, sizes *[streams]int64) (*input, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxPiece))
	if err != nil {
		return nil, fmt.Errorf("internal error: zstd decoder: %w", err)
	}
	in := &input{d: d}
	for i, size := range sizes {
		if size > int64(len(b)) {
			d.Close()
			return nil, errShort
		}
		in.s[i] = stream{in: in, packed: b[:size]}
		b = b[size:]
	}
	if len(b) > 0 {
		d.Close()
		return nil, fmt.Errorf("%d bytes too many", len(b))
	}
	return in, nil
}

func (in *input) close() { in.d.Close() }

// used is how much of the streams has been used, in bytes. A piece is taken to
// be used up evenly.
func (in *input) used(sizes *[streams]int64) (n int64) {
	for i := range in.s {
		s := &in.s[i]
		n += sizes[i] - int64(len(s.packed))
		if len(s.b) > 0 {
			n -= int64(s.size) * int64(len(s.b)-s.at) / int64(len(s.b))
		}
	}
	return n
}

var errStream = errors.New("bad stream")

// fail keeps the first error, and goes on with zeros.
func (s *stream) fail(err error) {
	if s.in.err == nil {
		s.in.err = err
	}
	s.packed, s.b, s.at, s.size = nil, make([]byte, 64), 0, 0
}

// fill goes on to the next piece.
func (s *stream) fill() {
	if len(s.packed) == 0 {
		s.fail(errShort)
		return
	}
	left := len(s.packed)
	var size, packed int64
	err := readNumbers(&s.packed, maxPiece, &size, &packed)
	if err != nil || size == 0 || packed > int64(len(s.packed)) {
		s.fail(errStream)
		return
	}
	piece := s.packed[:packed]
	s.packed, s.at = s.packed[packed:], 0
	s.size = left - len(s.packed)
	if packed == size {
		s.b = piece
		return
	}
	// The decoder is fastest if it may write a little over the end.
	const slack = 16
	if cap(s.buf) < int(size)+slack {
		s.buf = make([]byte, 0, size+slack)
	}
	if s.b, err = s.in.d.DecodeAll(piece, s.buf[:0:size+slack]); err != nil || len(s.b) != int(size) {
		s.fail(errStream)
	}
}

func (s *stream) byte() byte {
	if s.at == len(s.b) {
		s.fill()
	}
	v := s.b[s.at]
	s.at++
	return v
}

// bytes fills b.
func (s *stream) bytes(b []byte) {
	for len(b) > 0 {
		if s.at == len(s.b) {
			s.fill()
		}
		n := copy(b, s.b[s.at:])
		s.at += n
		b = b[n:]
	}
}

// differences adds to b what the stream holds.
func (s *stream) differences(b []byte) {
	for len(b) > 0 {
		if s.at == len(s.b) {
			s.fill()
		}
		part := s.b[s.at:min(len(s.b), s.at+len(b))]
		for i, d := range part {
			b[i] += d
		}
		s.at += len(part)
		b = b[len(part):]
	}
}

// ReadByte is for numbers that are rarely read.
func (s *stream) ReadByte() (byte, error) { return s.byte(), s.in.err }

// number reads a number up to a limit.
func (s *stream) number(limit uint64) uint64 {
	if s.at < len(s.b) && s.b[s.at] < 128 && uint64(s.b[s.at]) <= limit {
		s.at++
		return uint64(s.b[s.at-1])
	}
	v, err := binary.ReadUvarint(s)
	if err != nil || v > limit {
		s.fail(errStream)
		return 0
	}
	return v
}

// signed reads a number of either sign, which fits 32 bits.
func (s *stream) signed() int64 {
	v, err := binary.ReadVarint(s)
	if err != nil || v != int64(int32(v)) {
		s.fail(errStream)
		return 0
	}
	return v
}

// text reads bytes headed by their number.
func (s *stream) text(limit uint64) []byte {
	b := make([]byte, s.number(limit))
	s.bytes(b)
	return b
}

// offset reads the n bits of an offset below the leading one.
func (in *input) offset(n uint) uint32 {
	for in.bits < n {
		in.acc |= uint64(in.s[offsetBits].byte()) << in.bits
		in.bits += 8
	}
	v := uint32(in.acc & (1<<n - 1))
	in.acc >>= n
	in.bits -= n
	return v
}

// finished tells whether every stream was used to its end.
func (in *input) finished() error {
	if in.err != nil {
		return in.err
	}
	for i := range in.s {
		if len(in.s[i].packed) > 0 || in.s[i].at < len(in.s[i].b) {
			return errors.New("goes on behind the end of the data")
		}
	}
	return nil
}

var _ io.ByteReader = (*stream)(nil)
