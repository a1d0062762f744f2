// Package zframe takes Zstandard frames (RFC 8878) apart into literals and the
// decisions that the compressor made, and puts them together again, to the bit.
// A patch can then compare these, of which a compressed file shows nothing.
//
// It compresses nothing itself, knows no dictionaries, and does not check the
// checksum of a frame: its bytes are part of what is kept.
package zframe

import (
	"bytes"
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
