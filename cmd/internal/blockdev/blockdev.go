// Package blockdev opens disks so that a write changes the sectors it is meant
// for and no others.
//
// Linux writes a block device through its page cache in pages of 4096 bytes,
// whatever the sectors. A change to the last partition table of a disk then
// also writes the last sectors of the last partition, with what the cache held
// of them, which may be older than what a mounted file system has written
// there since. So disks are read and written past the cache here (O_DIRECT).
//
// Files that are no block devices are opened as they are.
package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is an open disk or image. Everything but ReadAt, WriteAt and Close is
// that of the *os.File.
type File struct {
	*os.File
	// direct reads and writes past the cache, nil if the file is no disk.
	direct *os.File
	sector int64
}

// Open opens a disk or an image file; flag is os.O_RDONLY or os.O_RDWR.
func Open(path string, flag int) (*File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	b := &File{File: f}
	sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return b, nil // not a block device
	}
	if err := b.open(path, flag, int64(sector)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

// open opens the way past the cache. A device that has none, as some that are
// programs have, does without.
func (b *File) open(path string, flag int, sector int64) error {
	direct, err := os.OpenFile(path, flag|unix.O_DIRECT, 0)
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil
	case err != nil:
		return err
	}
	b.direct, b.sector = direct, sector
	return nil
}

// Close closes the file.
func (b *File) Close() error {
	err := b.File.Close()
	if b.direct != nil {
		err = errors.Join(err, b.direct.Close())
	}
	return err
}

// ReadAt implements io.ReaderAt.
func (b *File) ReadAt(p []byte, off int64) (int, error) {
	if b.direct == nil || off < 0 {
		return b.File.ReadAt(p, off)
	}
	if b.straight(p, off) {
		if n, err := b.direct.ReadAt(p, off); err == nil {
			return n, nil
		}
		// Sector by sector there may be something to be had.
	}
	n := 0
	for n < len(p) {
		s := b.span(off+int64(n), len(p)-n)
		got, err := b.direct.ReadAt(s.buffer, s.start)
		c := copy(p[n:], s.buffer[min(s.in, got):got])
		if n += c; c == 0 {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// WriteAt implements io.WriterAt. The parts of sectors that a write does not
// cover are read first.
func (b *File) WriteAt(p []byte, off int64) (int, error) {
	if b.direct == nil || off < 0 {
		return b.File.WriteAt(p, off)
	}
	if b.straight(p, off) {
		return b.direct.WriteAt(p, off)
	}
	n := 0
	for n < len(p) {
		s := b.span(off+int64(n), len(p)-n)
		if s.partial {
			if _, err := io.ReadFull(io.NewSectionReader(b.direct, s.start, int64(len(s.buffer))), s.buffer); err != nil {
				return n, fmt.Errorf("read sectors at %d: %w", s.start, err)
			}
		}
		c := copy(s.buffer[s.in:], p[n:])
		if _, err := b.direct.WriteAt(s.buffer, s.start); err != nil {
			return n, err
		}
		n += c
	}
	return n, nil
}

// straight says whether the device takes memory as it is: whole sectors, well
// aligned, as large buffers are.
func (b *File) straight(p []byte, off int64) bool {
	return len(p) > 0 && off%b.sector == 0 && int64(len(p))%b.sector == 0 &&
		uintptr(unsafe.Pointer(unsafe.SliceData(p)))%alignment == 0
}

// span is whole sectors around some bytes, with room for them in memory.
type span struct {
	start   int64
	in      int // where the bytes start inside
	buffer  []byte
	partial bool // the bytes leave something of the sectors
}

const (
	maxSpan   = 1 << 20
	alignment = 4096 // of memory, more than any device asks for
)

// span is that of the first of n bytes at an offset, as many as are done at
// once.
func (b *File) span(off int64, n int) span {
	start := off / b.sector * b.sector
	end := min((off+int64(n)+b.sector-1)/b.sector*b.sector, start+maxSpan)
	memory := make([]byte, end-start+alignment)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(memory))) % alignment
	return span{
		start: start, in: int(off - start), buffer: memory[skip:][:end-start],
		partial: off != start || off+int64(n) < end,
	}
}

// Partition is the path of a partition's node, given that of its disk: the
// kernel puts a "p" between a name that ends in a digit and the number.
func Partition(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}
