package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	copyBlock = 4096    // zeros of this size and alignment become holes
	copyChunk = 1 << 20 // read at once
	copyRange = 1 << 26 // handed to the kernel at once, between looks at the context
)

// Content is what fills the start of a partition; the rest of it is zeros.
// Holes of an *os.File stay holes, and its data is shared with the image where
// the file system can do that.
type Content struct {
	Data io.ReaderAt
	Size int64 // bytes
}

// copyTo writes the content to w at the offset. What is there must be zeros.
func (c Content) copyTo(ctx context.Context, w io.WriterAt, offset int64) error {
	source, ok := c.Data.(*os.File)
	if !ok {
		return c.copyPart(ctx, w, offset, 0, c.Size)
	}
	for at := int64(0); at < c.Size; {
		start, end, err := nextData(source, at, c.Size)
		if err != nil {
			return err
		}
		if start == end {
			return nil
		}
		start, err = c.copyRange(ctx, source, w, offset, start, end)
		if err != nil {
			return err
		}
		if err := c.copyPart(ctx, w, offset, start, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// nextData finds the first range of the file at or after at that is not a
// hole. An empty range says that only holes follow.
func nextData(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		if info, err := f.Stat(); err == nil && info.Size() < size {
			return 0, 0, fmt.Errorf("want %d bytes, the source ends after %d", size, info.Size())
		}
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil // the file system does not know
	case err != nil:
		return 0, 0, fmt.Errorf("seek to data: %w", err)
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("seek to hole: %w", err)
	}
	return min(start, size), min(end, size), nil
}

// copyRange has the kernel copy bytes between files, which costs nothing on
// file systems that share blocks. It returns how far it came: what is left is
// for copyPart.
func (c Content) copyRange(
	ctx context.Context, source *os.File, w io.WriterAt, offset, start, end int64,
) (int64, error) {
	target, ok := w.(*os.File)
	if !ok {
		return start, nil
	}
	for start < end {
		if err := ctx.Err(); err != nil {
			return start, err
		}
		from, to := start, offset+start
		n, err := unix.CopyFileRange(int(source.Fd()), &from, int(target.Fd()), &to,
			int(min(end-start, copyRange)), 0)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EIO) {
			return start, fmt.Errorf("write: %w", err)
		}
		if err != nil || n == 0 {
			return start, nil // not between these files
		}
		start += int64(n)
	}
	return start, nil
}

// copyPart copies content from start to end through memory and leaves out
// blocks of zeros.
func (c Content) copyPart(ctx context.Context, w io.WriterAt, offset, start, end int64) error {
	if start == end {
		return nil
	}
	buffer, zeros := make([]byte, min(copyChunk, end-start)), make([]byte, copyBlock)
	for at := start; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk := buffer[:min(int64(len(buffer)), end-at)]
		n, err := c.Data.ReadAt(chunk, at)
		if n < len(chunk) {
			if err == nil || errors.Is(err, io.EOF) {
				return fmt.Errorf("want %d bytes, the source ends after %d", c.Size, at+int64(n))
			}
			return err
		}
		for i := 0; i < len(chunk); {
			// One write for as many blocks as hold data.
			n := i
			for n < len(chunk) && !isZero(chunk[n:min(n+copyBlock, len(chunk))], zeros) {
				n = min(n+copyBlock, len(chunk))
			}
			if n > i {
				if _, err := w.WriteAt(chunk[i:n], offset+at+int64(i)); err != nil {
					return err
				}
			}
			i = n + copyBlock
		}
		at += int64(len(chunk))
	}
	return nil
}

func isZero(b, zeros []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
