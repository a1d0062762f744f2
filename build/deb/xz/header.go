package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
)

const filterLZMA2 = 0x21

// blockHeader is section 3.1 of the format.
type blockHeader struct {
	size     int   // bytes of the header
	packed   int64 // -1 if not said
	unpacked int64
	dict     int64 // bytes
}

func parseBlockHeader(h []byte) (blockHeader, error) {
	b := blockHeader{size: len(h), packed: -1, unpacked: -1}
	body, sum := h[:len(h)-4], binary.LittleEndian.Uint32(h[len(h)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return b, ErrCorrupt
	}
	flags, rest := body[1], body[2:]
	if flags&0x3c != 0 {
		return b, ErrFilter // bits of a later version
	}
	ok := true
	if flags&0x40 != 0 {
		b.packed, rest = number(rest, &ok)
	}
	if flags&0x80 != 0 {
		b.unpacked, rest = number(rest, &ok)
	}
	id, rest := number(rest, &ok)
	size, rest := number(rest, &ok)
	if !ok {
		return b, ErrCorrupt
	}
	if flags&3 != 0 || id != filterLZMA2 {
		return b, ErrFilter
	}
	if size != 1 || len(rest) < 1 || rest[0] > 40 || !bytes.Equal(rest[1:], make([]byte, len(rest)-1)) {
		return b, ErrCorrupt
	}
	// Section 5.3.1.
	bits := int64(rest[0])
	b.dict = (2 | bits&1) << (bits/2 + 11)
	return b, nil
}

// number reads a variable-length integer of at most 63 bits (section 1.2).
func number(b []byte, ok *bool) (int64, []byte) {
	var v uint64
	for i := 0; i < len(b) && i < 9; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if b[i] == 0 && i > 0 {
				break // not the shortest form
			}
			return int64(v), b[i+1:]
		}
	}
	*ok = false
	return 0, nil
}

// indexHash compares the index with the blocks in constant memory, as the
// format's authors propose: by a hash over the records.
type indexHash struct {
	records  uint64
	packed   uint64 // sum of the blocks' sizes, padded
	unpacked uint64
	hash     hash.Hash
}

func newIndexHash() indexHash { return indexHash{hash: sha256.New()} }

// add takes the sizes of one block: stored without padding, and decompressed.
func (x *indexHash) add(packed, unpacked uint64) {
	x.records++
	x.packed += (packed + 3) &^ 3
	x.unpacked += unpacked
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], packed)
	binary.LittleEndian.PutUint64(b[8:], unpacked)
	x.hash.Write(b[:])
}

func (x *indexHash) equal(y *indexHash) bool {
	return x.records == y.records && x.packed == y.packed && x.unpacked == y.unpacked &&
		bytes.Equal(x.hash.Sum(nil), y.hash.Sum(nil))
}

// endStream reads the index, whose first byte has been read, and the footer
// (sections 4 and 2.1.2).
func (r *Reader) endStream() error {
	x := &indexReader{in: r.in, crc: crc32.NewIEEE()}
	x.crc.Write([]byte{0})
	x.size = 1
	records := x.number()
	if x.err == nil && records != r.index.records {
		return ErrCorrupt
	}
	stated := newIndexHash()
	for i := uint64(0); i < records && x.err == nil; i++ {
		packed := x.number()
		stated.add(packed, x.number())
	}
	for x.err == nil && x.size%4 != 0 {
		if x.byte() != 0 && x.err == nil {
			x.err = ErrCorrupt
		}
	}
	if x.err != nil {
		return x.err
	}
	var foot [16]byte // the index' CRC32 and the footer
	if _, err := io.ReadFull(r.in, foot[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(foot[:]) != x.crc.Sum32() || !stated.equal(&r.index) ||
		le.Uint32(foot[4:]) != crc32.ChecksumIEEE(foot[8:14]) ||
		(uint64(le.Uint32(foot[8:]))+1)*4 != x.size+4 ||
		[2]byte(foot[12:14]) != r.flags || string(foot[14:]) != footerMagic {
		return ErrCorrupt
	}
	return nil
}

// indexReader reads the index and sums it. The first error stays.
type indexReader struct {
	in   io.ByteReader
	crc  hash.Hash32
	size uint64
	err  error
}

func (x *indexReader) byte() byte {
	if x.err != nil {
		return 0
	}
	b, err := x.in.ReadByte()
	if err != nil {
		x.err = err
		return 0
	}
	x.crc.Write([]byte{b})
	x.size++
	return b
}

func (x *indexReader) number() uint64 {
	var v uint64
	for i := range 9 {
		b := x.byte()
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 && x.err == nil {
				x.err = ErrCorrupt
			}
			return v
		}
	}
	if x.err == nil {
		x.err = ErrCorrupt
	}
	return 0
}
