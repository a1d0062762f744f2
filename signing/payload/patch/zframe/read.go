package zframe

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Reader takes a frame apart.
type Reader struct {
	// Header is the frame's header, Trailer its checksum if it has one; that is
	// known after the last block.
	Header, Trailer []byte

	r        io.Reader
	size     int64 // bytes read
	checksum bool
	entropy
	block    []byte
	literals []byte
}

// NewReader reads a frame's header. r is read to the end of the frame.
func NewReader(r io.Reader) (*Reader, error) {
	z := &Reader{r: r, block: make([]byte, MaxBlock), literals: make([]byte, 0, MaxBlock)}
	head := make([]byte, maxHeader)
	if _, err := io.ReadFull(r, head[:6]); err != nil {
		return nil, noEOF(err)
	}
	for n := 6; ; n++ {
		size, checksum, err := headerSize(head[:n])
		if err == nil {
			z.Header, z.checksum, z.size = head[:size], checksum, int64(n)
			if n > size {
				return nil, errors.New("a frame that is too short")
			}
			return z, nil
		}
		if n == maxHeader || string(head[:4]) != Magic || head[4]&0x0b != 0 {
			return nil, err
		}
		if _, err := io.ReadFull(r, head[n:n+1]); err != nil {
			return nil, noEOF(err)
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Size is how many bytes of the frame were read.
func (z *Reader) Size() int64 { return z.size }

func (z *Reader) read(b []byte) error {
	n, err := io.ReadFull(z.r, b)
	z.size += int64(n)
	return noEOF(err)
}

// Next reads a block into b, whose memory it uses again; the literals are valid
// until the next call. Behind the last block comes io.EOF.
func (z *Reader) Next(b *Block) error {
	if b.Last {
		if z.checksum {
			z.Trailer = make([]byte, 4)
			if err := z.read(z.Trailer); err != nil {
				return err
			}
		}
		return io.EOF
	}
	var head [3]byte
	if err := z.read(head[:]); err != nil {
		return err
	}
	v := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
	size := int(v >> 3)
	*b = Block{Last: v&1 != 0, Type: Type(v >> 1 & 3), Size: size, Sequences: b.Sequences[:0]}
	if size > MaxBlock {
		return fmt.Errorf("block of %d bytes", size)
	}
	if b.Type == RLE {
		size = 1
	}
	if err := z.read(z.block[:size]); err != nil {
		return err
	}
	b.Literals = z.block[:size]
	switch b.Type {
	case Raw, RLE:
		return nil
	case Compressed:
		return z.compressed(b, z.block[:size])
	}
	return errFrame
}

func (z *Reader) compressed(b *Block, data []byte) error {
	used, err := z.readLiterals(b, data)
	if err != nil {
		return err
	}
	b.Literals = z.literals
	b.Size = len(z.literals)
	return z.readSequences(b, data[used:])
}

// readLiterals decodes the literals section and gives its length.
func (z *Reader) readLiterals(b *Block, data []byte) (int, error) {
	if len(data) == 0 {
		return 0, errFrame
	}
	b.LiteralsType, b.LiteralsForm = Type(data[0]&3), data[0]>>2&3
	if b.LiteralsType == Raw || b.LiteralsType == RLE {
		return z.plainLiterals(b, data)
	}
	bits, bytes := literalsForm(b.LiteralsForm)
	if len(data) < bytes {
		return 0, errFrame
	}
	var v uint64
	for i := range bytes {
		v |= uint64(data[i]) << (8 * i)
	}
	size, packed := int(v>>4&(1<<bits-1)), int(v>>(4+bits)&(1<<bits-1))
	if size > MaxBlock || packed > len(data)-bytes {
		return 0, errFrame
	}
	coded := data[bytes : bytes+packed]
	if b.LiteralsType == Compressed {
		tree, n, err := readHuffman(coded)
		if err != nil {
			return 0, err
		}
		z.tree = tree
		b.Tree = append([]byte(nil), coded[:n]...)
		coded = coded[n:]
	} else if z.tree == nil {
		return 0, errTable
	}
	z.literals = z.literals[:size]
	if b.LiteralsForm == 0 {
		return bytes + packed, z.tree.read(coded, z.literals)
	}
	return bytes + packed, z.readFour(coded)
}

func (z *Reader) readFour(coded []byte) error {
	if len(coded) < 6 {
		return errFrame
	}
	jump, coded := coded[:6], coded[6:]
	each := (len(z.literals) + 3) / 4
	if each*3 > len(z.literals) {
		return errFrame
	}
	for i := range 4 {
		out, n := z.literals[i*each:], len(coded)
		if i < 3 {
			out, n = out[:each], int(jump[2*i])|int(jump[2*i+1])<<8
		}
		if n > len(coded) {
			return errFrame
		}
		if err := z.tree.read(coded[:n], out); err != nil {
			return err
		}
		coded = coded[n:]
	}
	return nil
}

func (z *Reader) plainLiterals(b *Block, data []byte) (int, error) {
	bytes, size := 1, int(data[0]>>3)
	if b.LiteralsForm == 2 {
		b.LiteralsForm = 0 // its upper bit belongs to the size
	}
	switch b.LiteralsForm {
	case 1:
		bytes = 2
	case 3:
		bytes = 3
	}
	if len(data) < bytes {
		return 0, errFrame
	}
	if bytes > 1 {
		size = int(data[0]>>4) | int(data[1])<<4
		if bytes == 3 {
			size |= int(data[2]) << 12
		}
	}
	if size > MaxBlock {
		return 0, errFrame
	}
	z.literals = z.literals[:size]
	if b.LiteralsType == Raw {
		if size > len(data)-bytes {
			return 0, errFrame
		}
		copy(z.literals, data[bytes:])
		return bytes + size, nil
	}
	if len(data) == bytes {
		return 0, errFrame
	}
	for i := range z.literals {
		z.literals[i] = data[bytes]
	}
	return bytes + 1, nil
}

// readSequences decodes the sequences section, which fills the rest of a block.
func (z *Reader) readSequences(b *Block, data []byte) error {
	if len(data) == 0 {
		return errFrame
	}
	n, used := int(data[0]), 1
	switch {
	case n == 255:
		if len(data) < 3 {
			return errFrame
		}
		n, used = int(data[1])|int(data[2])<<8+0x7f00, 3
	case n >= 128:
		if len(data) < 2 {
			return errFrame
		}
		n, used = (n-128)<<8|int(data[1]), 2
	}
	if n == 0 {
		if used != len(data) {
			return errFrame
		}
		return nil
	}
	if len(data) <= used {
		return errFrame
	}
	b.Modes = data[used]
	data = data[used+1:]
	for k := range kinds {
		size := 0
		switch Type(b.Modes >> (6 - 2*k) & 3) {
		case RLE:
			size = 1
		case Compressed:
			_, length, err := readFSE(data, kinds[k].maxLog, kinds[k].symbols)
			if err != nil {
				return err
			}
			size = length
		}
		if size > len(data) {
			return errFrame
		}
		b.Tables[k] = append([]byte(nil), data[:size]...)
		data = data[size:]
	}
	if err := z.setTables(b); err != nil {
		return err
	}
	r, err := newBackward(data)
	if err != nil {
		return err
	}
	return z.decode(b, n, r)
}

// decode decodes n sequences.
func (z *Reader) decode(b *Block, n int, r *backward) error {
	var state [3]uint64
	for k := range state {
		state[k] = r.bits(uint(z.tables[k].log))
	}
	literals, room := len(z.literals), MaxBlock-len(z.literals)
	tables := [3][]fseState{z.tables[0].decode, z.tables[1].decode, z.tables[2].decode}
	b.Sequences = slices.Grow(b.Sequences, n)
	for i := range n {
		ll, of, ml := tables[0][state[0]], tables[1][state[1]], tables[2][state[2]]
		if of.symbol > maxOffsetCode {
			return errFrame
		}
		s := Sequence{Code: 1<<of.symbol + uint32(r.bits(uint(of.symbol)))}
		more := r.bits(uint(matchBits[ml.symbol] + literalBits[ll.symbol]))
		s.Match = matchBase[ml.symbol] + uint32(more>>literalBits[ll.symbol])
		s.Literals = literalBase[ll.symbol] + uint32(more)&(1<<literalBits[ll.symbol]-1)
		if i < n-1 {
			next := r.bits(uint(ll.bits + ml.bits + of.bits))
			state[1] = uint64(of.base) + next&(1<<of.bits-1)
			next >>= of.bits
			state[2] = uint64(ml.base) + next&(1<<ml.bits-1)
			state[0] = uint64(ll.base) + next>>ml.bits
		}
		literals -= int(s.Literals)
		room -= int(s.Match)
		if r.left < 0 || literals < 0 || room < 0 {
			return errFrame
		}
		b.Sequences = append(b.Sequences, s)
	}
	if r.left != 0 {
		return errBits
	}
	b.Size = MaxBlock - room
	return nil
}
