// Package xz reads the .xz format, as fast as Go allows and in bounded memory:
// most of the time it takes to unpack Debian packages is spent here.
//
// It decodes the filter LZMA2 alone, which is what dpkg-deb, xz and the kernel's
// build write by default; ErrFilter says that a file uses another. It verifies
// all checks and the index. It does not write .xz, and does not know the older
// .lzma.
//
// Format: https://tukaani.org/xz/xz-file-format.txt
package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// What can be wrong with a file. A file that ends too early gives
// io.ErrUnexpectedEOF.
var (
	ErrFormat  = errors.New("xz: not in xz format")
	ErrCorrupt = errors.New("xz: data is corrupt")
	ErrFilter  = errors.New("xz: filter other than LZMA2")
	ErrMemory  = errors.New("xz: dictionary is larger than allowed")
)

const (
	headerMagic = "\xfd7zXZ\x00"
	footerMagic = "YZ"
)

// Reader decompresses a stream. It is not safe for use by several goroutines.
type Reader struct {
	in      *bufio.Reader
	maxDict int
	flags   [2]byte // of the stream
	check   hash.Hash
	lzma    lzma2
	index   indexHash // of the blocks as they were
	inBlock bool
	block   blockHeader
	read    counter // of the current block
	err     error
}

// counter counts bytes of a block as stored and as decompressed.
type counter struct{ packed, unpacked int64 }

// NewReader reads the header of the first block. A file that needs a larger
// dictionary than maxDict bytes is refused; memory use is a little more than
// twice the dictionary that a file has.
func NewReader(in io.Reader, maxDict int) (*Reader, error) {
	b, ok := in.(*bufio.Reader)
	if !ok {
		b = bufio.NewReaderSize(in, 128<<10)
	}
	r := &Reader{in: b, maxDict: maxDict}
	if err := r.streamHeader(); err != nil {
		return nil, noEOF(err)
	}
	if err := r.nextBlock(); err != nil && err != io.EOF {
		return nil, noEOF(err)
	} else if err == io.EOF {
		r.err = io.EOF
	}
	return r, nil
}

// Supported is false if the beginning of a file says that it needs a filter
// other than LZMA2. 1036 bytes are enough; if they are bad, NewReader says how.
func Supported(head []byte) bool {
	if len(head) < 13 || head[12] == 0 || len(head) < 12+(int(head[12])+1)*4 {
		return true
	}
	_, err := parseBlockHeader(head[12 : 12+(int(head[12])+1)*4])
	return !errors.Is(err, ErrFilter)
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if n := r.lzma.read(p); n > 0 {
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if err := r.fill(); err != nil {
			r.err = err
			if err != io.EOF {
				r.err = noEOF(err)
			}
		}
	}
	return 0, nil
}

// noEOF: the end of the input is regular at one place only.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill decodes some more bytes, or goes to the next block.
func (r *Reader) fill() error {
	if !r.inBlock {
		return r.nextBlock()
	}
	packed, err := r.lzma.chunk(r.in)
	r.read.packed += int64(packed)
	if err == io.EOF {
		return r.endBlock()
	} else if err != nil {
		return noEOF(err)
	}
	fresh := r.lzma.fresh()
	r.read.unpacked += int64(len(fresh))
	r.check.Write(fresh)
	return nil
}

// streamHeader reads section 2.1.1 of the format.
func (r *Reader) streamHeader() error {
	var h [12]byte
	n, err := io.ReadFull(r.in, h[:])
	if !bytes.HasPrefix([]byte(headerMagic), h[:min(n, 6)]) {
		return ErrFormat
	}
	if err != nil {
		return err
	}
	if crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return ErrCorrupt
	}
	copy(r.flags[:], h[6:8])
	r.index = newIndexHash()
	switch {
	case r.flags == [2]byte{0, 0}:
		r.check = noCheck{}
	case r.flags == [2]byte{0, 1}:
		r.check = crc32.NewIEEE()
	case r.flags == [2]byte{0, 4}:
		r.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case r.flags == [2]byte{0, 10}:
		r.check = sha256.New()
	default:
		return fmt.Errorf("xz: check type %d is not known", h[7])
	}
	return nil
}

// noCheck is the check of a stream without one.
type noCheck struct{}

func (noCheck) Write(p []byte) (int, error) { return len(p), nil }
func (noCheck) Sum(b []byte) []byte         { return b }
func (noCheck) Reset()                      {}
func (noCheck) Size() int                   { return 0 }
func (noCheck) BlockSize() int              { return 1 }

// nextBlock reads a block's header, or the index and what follows it. At the
// end of the file it returns io.EOF.
func (r *Reader) nextBlock() error {
	first, err := r.in.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if first != 0 {
		return r.startBlock(first)
	}
	if err := r.endStream(); err != nil {
		return noEOF(err)
	}
	// Other streams may follow, behind zeros by fours.
	for {
		four, err := r.in.Peek(4)
		switch {
		case len(four) == 0 && err == io.EOF:
			return io.EOF
		case len(four) < 4:
			if err == io.EOF {
				err = ErrCorrupt
			}
			return err
		case !bytes.Equal(four, make([]byte, 4)):
			if err := r.streamHeader(); err != nil {
				return noEOF(err)
			}
			return r.nextBlock()
		}
		if _, err := r.in.Discard(4); err != nil {
			return err
		}
	}
}

func (r *Reader) startBlock(first byte) error {
	header := make([]byte, (int(first)+1)*4)
	header[0] = first
	if _, err := io.ReadFull(r.in, header[1:]); err != nil {
		return noEOF(err)
	}
	var err error
	if r.block, err = parseBlockHeader(header); err != nil {
		return err
	}
	if r.block.dict > int64(r.maxDict) {
		return ErrMemory
	}
	r.read, r.inBlock = counter{}, true
	r.check.Reset()
	r.lzma.reset(int(r.block.dict))
	return nil
}

// endBlock compares sizes and check.
func (r *Reader) endBlock() error {
	r.inBlock = false
	b := r.block
	if b.packed >= 0 && b.packed != r.read.packed || b.unpacked >= 0 && b.unpacked != r.read.unpacked {
		return ErrCorrupt
	}
	tail := make([]byte, int(-r.read.packed&3)+r.check.Size())
	if _, err := io.ReadFull(r.in, tail); err != nil {
		return noEOF(err)
	}
	padding := tail[:len(tail)-r.check.Size()]
	want := r.check.Sum(nil)
	// The CRCs are stored with the least byte first.
	if len(want) <= 8 {
		reverse(want)
	}
	if !bytes.Equal(padding, make([]byte, len(padding))) || !bytes.Equal(tail[len(padding):], want) {
		return ErrCorrupt
	}
	r.index.add(uint64(b.size)+uint64(r.read.packed)+uint64(len(want)), uint64(r.read.unpacked))
	return nil
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}
