// Package zframe takes Zstandard frames (RFC 8878) apart into literals and the
// decisions that the compressor made, and puts them together again, to the bit.
// A patch can then compare these, of which a compressed file shows nothing.
//
// It compresses nothing itself, knows no dictionaries, and does not check the
// checksum of a frame: its bytes are part of what is kept.
package zframe

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// MaxBlock is the largest content of a block, in bytes.
const MaxBlock = 128 << 10

// Magic is how a frame begins.
const Magic = "\x28\xb5\x2f\xfd"

// maxHeader is the longest frame header, in bytes.
const maxHeader = 18

// Type is the type of a block or of its literals.
type Type uint8

// The types. Treeless is one of literals only.
const (
	Raw Type = iota
	RLE
	Compressed
	Treeless
)

// Block is all there is to know of a block.
type Block struct {
	Last bool
	Type Type
	Size int // of the content, bytes
	// Literals are those bytes of the content that no match gives. Of an RLE
	// block it is the one byte that is repeated.
	Literals []byte

	// Of compressed blocks:
	LiteralsType Type
	LiteralsForm uint8  // of the sizes in the section's header, 0 to 3
	Tree         []byte // description of the code of Compressed literals
	Modes        uint8  // of the three tables, as in the section's header
	Tables       [3][]byte
	Sequences    []Sequence
}

// Sequence is a number of literals and a match behind them. Code is the offset
// as written: 1 to 3 for one of the latest offsets, else the offset plus 3.
type Sequence struct {
	Literals, Match, Code uint32
}

// Recent are the latest three offsets.
type Recent [3]uint32

// StartOffsets are the latest offsets at the start of a frame.
var StartOffsets = Recent{1, 4, 8}

// Offset gives the offset of a sequence and makes it the latest one. It is 0
// for a sequence that cannot be.
func (r *Recent) Offset(s Sequence) uint32 {
	if s.Code > 3 {
		*r = Recent{s.Code - 3, r[0], r[1]}
		return r[0]
	}
	which := int(s.Code) - 1
	if s.Literals == 0 {
		which++
	}
	switch which {
	case 0:
	case 1:
		r[0], r[1] = r[1], r[0]
	case 2:
		*r = Recent{r[2], r[0], r[1]}
	case 3:
		*r = Recent{r[0] - 1, r[0], r[1]}
	default:
		return 0
	}
	return r[0]
}

// Code gives the shortest code of an offset behind so many literals.
func (r *Recent) Code(offset, literals uint32) uint32 {
	if literals > 0 {
		for i, known := range r {
			if known == offset {
				return uint32(i) + 1
			}
		}
		return offset + 3
	}
	switch offset {
	case r[1]:
		return 1
	case r[2]:
		return 2
	case r[0] - 1:
		return 3
	}
	return offset + 3
}

// entropy is what a block may repeat of those before.
type entropy struct {
	tree   *huffman
	tables [3]*fse
}

var errFrame = errors.New("bad frame")

// headerSize is the length of the frame header at the start of b, without
// which nothing of a frame is known, and whether a checksum follows the blocks.
func headerSize(b []byte) (size int, checksum bool, err error) {
	if len(b) < 6 || string(b[:4]) != Magic {
		return 0, false, errFrame
	}
	d := b[4]
	if d&0x0b != 0 {
		return 0, false, errors.New("a frame with a dictionary or reserved bits")
	}
	size = 5
	single := d&0x20 != 0
	if !single {
		size++
	}
	switch d >> 6 {
	case 0:
		if single {
			size++
		}
	case 1:
		size += 2
	case 2:
		size += 4
	case 3:
		size += 8
	}
	if len(b) < size {
		return 0, false, errFrame
	}
	return size, d&4 != 0, nil
}

// setTables makes the tables of a block those in force.
func (e *entropy) setTables(b *Block) error {
	for k := range kinds {
		switch Type(b.Modes >> (6 - 2*k) & 3) {
		case Raw:
			e.tables[k] = &fse{log: kinds[k].defaultLog, counts: kinds[k].defaults}
			if err := e.tables[k].buildDecoder(); err != nil {
				return err
			}
		case RLE:
			if len(b.Tables[k]) != 1 || int(b.Tables[k][0]) >= kinds[k].symbols {
				return errTable
			}
			e.tables[k] = singleSymbol(b.Tables[k][0])
		case Compressed:
			t, n, err := readFSE(b.Tables[k], kinds[k].maxLog, kinds[k].symbols)
			if err != nil || n != len(b.Tables[k]) {
				return errTable
			}
			e.tables[k] = t
		default:
			if e.tables[k] == nil {
				return errTable
			}
		}
	}
	return nil
}

// AppendContent appends the content of the block to that of the blocks before
// it. recent is where the latest offsets are kept from block to block.
func (b *Block) AppendContent(content []byte, recent *Recent) ([]byte, error) {
	if b.Type == RLE {
		return append(content, bytes.Repeat(b.Literals, b.Size)...), nil
	}
	literals := b.Literals
	for _, s := range b.Sequences {
		content = append(content, literals[:s.Literals]...)
		literals = literals[s.Literals:]
		offset := int(recent.Offset(s))
		if offset == 0 || offset > len(content) {
			return nil, errFrame
		}
		for left := int(s.Match); left > 0; {
			n := min(left, offset)
			content = append(content, content[len(content)-offset:][:n]...)
			left -= n
		}
	}
	return append(content, literals...), nil
}

// Writer puts a frame together.
type Writer struct {
	entropy
	bits bitWriter
	part bitWriter
}

// Append appends a block to out.
func (w *Writer) Append(out []byte, b *Block) ([]byte, error) {
	start := len(out)
	out = append(out, 0, 0, 0)
	size := b.Size
	var err error
	switch b.Type {
	case Raw, RLE:
		if b.Type == RLE && len(b.Literals) != 1 || b.Type == Raw && len(b.Literals) != size {
			return nil, errFrame
		}
		out = append(out, b.Literals...)
	case Compressed:
		if out, err = w.literals(out, b); err != nil {
			return nil, err
		}
		if out, err = w.sequences(out, b); err != nil {
			return nil, err
		}
		size = len(out) - start - 3
	default:
		return nil, errFrame
	}
	if size >= 1<<21 {
		return nil, errFrame
	}
	head := uint32(size)<<3 | uint32(b.Type)<<1
	if b.Last {
		head |= 1
	}
	out[start], out[start+1], out[start+2] = byte(head), byte(head>>8), byte(head>>16)
	return out, nil
}

func (w *Writer) literals(out []byte, b *Block) ([]byte, error) {
	literals := b.Literals
	if len(literals) > MaxBlock || b.LiteralsForm > 3 {
		return nil, errFrame
	}
	n := uint64(len(literals))
	if b.LiteralsType == Raw || b.LiteralsType == RLE {
		v := uint64(b.LiteralsType) | uint64(b.LiteralsForm)<<2
		switch b.LiteralsForm {
		case 0, 2:
			out = append(out, byte(uint64(b.LiteralsType)|uint64(b.LiteralsForm&1)<<2|n<<3))
			if b.LiteralsForm == 2 { // its upper bit belongs to the size
				return nil, errFrame
			}
		case 1:
			out = binary.LittleEndian.AppendUint16(out, uint16(v|n<<4))
		case 3:
			v |= n << 4
			out = append(out, byte(v), byte(v>>8), byte(v>>16))
		}
		if b.LiteralsType == Raw {
			return append(out, literals...), nil
		}
		if n == 0 {
			return nil, errFrame
		}
		return append(out, literals[0]), nil
	}
	if b.LiteralsType == Compressed {
		tree, used, err := readHuffman(b.Tree)
		if err != nil || used != len(b.Tree) {
			return nil, errTable
		}
		w.tree = tree
	} else if w.tree == nil {
		return nil, errTable
	}
	bits, bytes := literalsForm(b.LiteralsForm)
	w.part.out = append(w.part.out[:0], b.Tree...)
	if b.LiteralsForm == 0 {
		if err := w.tree.write(&w.part, literals); err != nil {
			return nil, err
		}
	} else if err := w.fourStreams(literals); err != nil {
		return nil, err
	}
	packed := uint64(len(w.part.out))
	if n >= 1<<bits || packed >= 1<<bits {
		return nil, errFrame
	}
	v := uint64(b.LiteralsType) | uint64(b.LiteralsForm)<<2 | n<<4 | packed<<(4+bits)
	for range bytes {
		out = append(out, byte(v))
		v >>= 8
	}
	return append(out, w.part.out...), nil
}

// literalsForm gives the bits of each size and the bytes of the header of
// Huffman coded literals.
func literalsForm(form uint8) (bits, bytes int) {
	switch form {
	case 2:
		return 14, 4
	case 3:
		return 18, 5
	}
	return 10, 3
}

func (w *Writer) fourStreams(literals []byte) error {
	jump := len(w.part.out)
	w.part.out = append(w.part.out, make([]byte, 6)...)
	each := (len(literals) + 3) / 4
	if each*3 > len(literals) {
		return errFrame
	}
	for i := range 4 {
		start := len(w.part.out)
		stream := literals[i*each:]
		if i < 3 {
			stream = stream[:each]
		}
		if err := w.tree.write(&w.part, stream); err != nil {
			return err
		}
		size := len(w.part.out) - start
		if size > 1<<16-1 {
			return errFrame
		}
		if i < 3 {
			binary.LittleEndian.PutUint16(w.part.out[jump+2*i:], uint16(size))
		}
	}
	return nil
}

func (w *Writer) sequences(out []byte, b *Block) ([]byte, error) {
	n := len(b.Sequences)
	switch {
	case n == 0:
		return append(out, 0), nil
	case n < 128:
		out = append(out, byte(n))
	case n < 0x7f00:
		out = append(out, byte(n>>8)+128, byte(n))
	case n < 0x7f00+1<<16:
		out = append(out, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	default:
		return nil, errFrame
	}
	if b.Modes&3 != 0 {
		return nil, errFrame
	}
	out = append(out, b.Modes)
	if err := w.setTables(b); err != nil {
		return nil, err
	}
	for k := range kinds {
		out = append(out, b.Tables[k]...)
		if err := w.tables[k].buildEncoder(); err != nil {
			return nil, err
		}
	}
	w.bits.out = w.bits.out[:0]
	var state [3]uint32
	for i := n - 1; i >= 0; i-- {
		s := b.Sequences[i]
		if s.Code == 0 || s.Match < 3 || s.Literals > MaxBlock || s.Match > MaxBlock {
			return nil, errFrame
		}
		ll, of, ml := literalCode(s.Literals), offsetCode(s.Code), matchCode(s.Match)
		if !w.tables[0].has(ll) || !w.tables[1].has(of) || !w.tables[2].has(ml) {
			return nil, errTable
		}
		if i == n-1 {
			state = [3]uint32{w.tables[0].first(ll), w.tables[1].first(of), w.tables[2].first(ml)}
		} else {
			state[1] = w.tables[1].encode(&w.bits, state[1], of)
			state[2] = w.tables[2].encode(&w.bits, state[2], ml)
			state[0] = w.tables[0].encode(&w.bits, state[0], ll)
		}
		w.bits.add(uint64(s.Literals), uint(literalBits[ll]))
		w.bits.add(uint64(s.Match-matchBase[ml]), uint(matchBits[ml]))
		w.bits.add(uint64(s.Code), uint(of))
	}
	for _, k := range []int{matchLengths, offsets, literalLengths} {
		w.bits.add(uint64(state[k]), uint(w.tables[k].log))
	}
	w.bits.close()
	return append(out, w.bits.out...), nil
}

// Skim gives the size of the frame at the start of b, by its headers alone. It
// says nothing about what the blocks hold.
func Skim(b []byte) (size int, ok bool) {
	at, checksum, err := headerSize(b)
	if err != nil {
		return 0, false
	}
	for at+3 <= len(b) {
		v := uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16
		n := int(v >> 3)
		if Type(v>>1&3) == RLE {
			n = 1
		}
		if n > MaxBlock || v>>1&3 == 3 {
			return 0, false
		}
		if at += 3 + n; v&1 != 0 {
			if checksum {
				at += 4
			}
			return at, at <= len(b)
		}
	}
	return 0, false
}
