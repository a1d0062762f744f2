package powercut

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// The layout of a log, all little-endian, in sectors of a size it tells:
// sector 0 is the super block, then follow entries, a sector each, with the
// data of a write right behind its entry. Written by Linux's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst) and by QEMU's
// blklogwrites (block/blklogwrites.c).
const (
	logMagic   = 0x6a736677736872
	logVersion = 1

	logFlush    = 1 << 0
	logFUA      = 1 << 1
	logDiscard  = 1 << 2
	logMark     = 1 << 3
	logMetadata = 1 << 4 // only says what a write is for
	logFlags    = logFlush | logFUA | logDiscard | logMark | logMetadata

	logEntrySize = 32
)

// maxLogEntries bounds the memory that a log asks for: some 100 bytes each.
const maxLogEntries = 1 << 22

// ReadLog reads the log of size bytes that QEMU's blklogwrites kept of a
// disk. The data of writes is not read; r must stay readable as long as the
// operations are in use. Of a QEMU that was killed the log ends with what the
// super block counts, usually the last flush.
func ReadLog(r io.ReaderAt, size int64) ([]Operation, error) {
	var super [28]byte
	if n, err := r.ReadAt(super[:], 0); n < len(super) {
		return nil, fmt.Errorf("write log: super block: %w", unexpected(err))
	}
	le := binary.LittleEndian
	magic, version := le.Uint64(super[0:]), le.Uint64(super[8:])
	count, sectorSize := le.Uint64(super[16:]), int64(le.Uint32(super[24:]))
	switch {
	case magic != logMagic:
		return nil, fmt.Errorf("write log: magic number is %#x, want %#x", magic, logMagic)
	case version != logVersion:
		return nil, fmt.Errorf("write log: version is %d, want %d", version, logVersion)
	case sectorSize < Sector || sectorSize > 1<<20 || sectorSize&(sectorSize-1) != 0:
		return nil, fmt.Errorf("write log: sectors of %d bytes", sectorSize)
	case count > maxLogEntries || count > uint64(size/sectorSize):
		return nil, fmt.Errorf("write log: %d entries in %d bytes", count, size)
	}
	l := logReader{r: r, size: size, sectorSize: sectorSize, at: sectorSize}
	for i := range count {
		if err := l.entry(); err != nil {
			return nil, fmt.Errorf("write log: entry %d at %d: %w", i, l.at, err)
		}
	}
	return l.ops, nil
}

type logReader struct {
	r                io.ReaderAt
	size, sectorSize int64
	at               int64 // of the next entry
	ops              []Operation
}

// entry reads the next entry, which can be a sync and a write in one.
func (l *logReader) entry() error {
	b := make([]byte, logEntrySize)
	if l.at > l.size-l.sectorSize {
		return io.ErrUnexpectedEOF
	}
	if n, err := l.r.ReadAt(b, l.at); n < len(b) {
		return unexpected(err)
	}
	le := binary.LittleEndian
	sector, sectors := le.Uint64(b[0:]), le.Uint64(b[8:])
	flags, length := le.Uint64(b[16:]), le.Uint64(b[24:])
	limit := uint64(math.MaxInt64) / uint64(l.sectorSize)
	switch {
	case flags&^logFlags != 0:
		return fmt.Errorf("flags are %#x", flags)
	case sector > limit || sectors > limit-sector:
		return fmt.Errorf("%d sectors from sector %d on", sectors, sector)
	case flags&logMark != 0:
		return l.mark(length)
	case sectors == 0 && flags&logFlush == 0:
		return fmt.Errorf("neither a write nor a flush")
	}
	next := l.at + l.sectorSize
	op := Operation{Offset: int64(sector) * l.sectorSize, Size: int64(sectors) * l.sectorSize}
	if flags&logDiscard != 0 {
		op.Kind = Discard
	} else {
		if op.Size > l.size-next {
			return fmt.Errorf("%d bytes of data: %w", op.Size, io.ErrUnexpectedEOF)
		}
		op.content = io.NewSectionReader(l.r, next, op.Size)
		op.FUA = flags&logFUA != 0
		next += op.Size
	}
	if flags&logFlush != 0 {
		l.ops = append(l.ops, Operation{Kind: Sync})
	}
	if op.Size > 0 {
		l.ops = append(l.ops, op)
	}
	l.at = next
	return nil
}

// mark reads the text of a mark, which is in the entry's own sector.
func (l *logReader) mark(length uint64) error {
	if length > uint64(l.sectorSize-logEntrySize) {
		return fmt.Errorf("mark of %d bytes", length)
	}
	text := make([]byte, length)
	if n, err := l.r.ReadAt(text, l.at+logEntrySize); n < len(text) {
		return unexpected(err)
	}
	l.ops = append(l.ops, Operation{Kind: Mark, Text: string(text)})
	l.at += l.sectorSize
	return nil
}

// unexpected is the error of a read that came too short.
func unexpected(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
