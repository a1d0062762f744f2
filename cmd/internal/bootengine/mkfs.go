package bootengine

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sparseImage is where a new file system is made before it is copied.
const sparseImage = "/run/slipway-root.img"

// device is a partition open for writing.
type device interface {
	io.WriterAt
	Sync() error
}

// sparseFile is a file that knows where it has data.
type sparseFile interface {
	io.ReaderAt
	// Data returns the bounds in bytes of the first stretch of data at or
	// after offset; io.EOF if there is none.
	Data(offset int64) (start, end int64, err error)
}

// makeFileSystem makes an ext4 of size bytes in a sparse file in memory, with
// the slot's mke2fs, and copies the few megabytes that it wrote. The mark comes
// first: should mke2fs meet a bad block of the slot, the next boot verifies it.
func makeFileSystem(dev device, size int64) (err error) {
	if err := markUnfinished(dev); err != nil {
		return err
	}
	f, err := os.Create(sparseImage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(sparseImage)) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	cmd, err := fromSlot("sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", rootLabel,
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", sparseImage)
	if err == nil {
		err = runProgram(cmd)
	}
	if err != nil {
		return err
	}
	return copyFileSystem(dev, memoryFile{f})
}

// markUnfinished marks the device and returns when the mark is on it.
func markUnfinished(dev device) error {
	mark := make([]byte, sector)
	copy(mark, unfinished)
	return errors.Join(writeAt(dev, mark, 0), dev.Sync())
}

// copyFileSystem writes the image's data to a marked device so that a power cut
// at any byte leaves either a marked, unfinished file system or the whole one.
func copyFileSystem(dev device, img sparseFile) error {
	head := make([]byte, firstBlock)
	if _, err := img.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	steps := []func() error{
		func() error { return copyData(dev, img, firstBlock) },
		func() error { return writeAt(dev, head[sector:], sector) }, // the superblock
		func() error { return writeAt(dev, head[:sector], 0) },      // over the mark
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if err := dev.Sync(); err != nil {
			return err
		}
	}
	return nil
}

const (
	sector     = 512
	firstBlock = 4096
)

func writeAt(dev device, b []byte, off int64) error {
	_, err := dev.WriteAt(b, off)
	return err
}

// copyData copies every stretch of data from offset on.
func copyData(dev device, img sparseFile, offset int64) error {
	buf := make([]byte, 1<<20)
	for {
		start, end, err := img.Data(offset)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for at := start; at < end; {
			n, err := img.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			if n == 0 {
				return fmt.Errorf("read the image at %d: %w", at, err)
			}
			if err := writeAt(dev, buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		offset = end
	}
}

// memoryFile is a sparseFile on a file system that supports SEEK_DATA.
type memoryFile struct{ *os.File }

// Data finds the next stretch of data.
func (f memoryFile) Data(offset int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return 0, 0, err
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	return start, end, err
}
