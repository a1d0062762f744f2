package unpack

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// dataFile is the data file of one package, opened when first needed and
// shared by all its Blobs.
type dataFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func (d *dataFile) open() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		f, err := os.Open(d.path)
		if err != nil {
			return nil, err
		}
		d.file = f
	}
	return d.file, nil
}

func (d *dataFile) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// Section is a Blob that lies in one piece in a file. The file is shared: read
// it with ReadAt or copy_file_range, do not seek or close it.
type Section interface {
	Section() (file *os.File, offset int64, err error)
}

// section is a Blob inside a data file.
type section struct {
	file   *dataFile
	offset int64
	size   int64
	sum    [sha256.Size]byte
}

func (s *section) Size() int64               { return s.size }
func (s *section) SHA256() [sha256.Size]byte { return s.sum }

func (s *section) Section() (*os.File, int64, error) {
	f, err := s.file.open()
	return f, s.offset, err
}

func (s *section) Open() (io.ReadCloser, error) {
	f, err := s.file.open()
	if err != nil {
		return nil, err
	}
	return &sectionReader{io.NewSectionReader(f, s.offset, s.size), f}, nil
}

// sectionReader adds to io.SectionReader a copy into files by the kernel.
type sectionReader struct {
	*io.SectionReader
	file *os.File
}

func (r *sectionReader) Close() error { return nil }

// WriteTo copies what is left. Into a file it uses copy_file_range, which on
// some file systems shares the blocks.
func (r *sectionReader) WriteTo(w io.Writer) (int64, error) {
	_, offset, size := r.Outer()
	at, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	left := size - at
	var done int64
	if out, ok := w.(*os.File); ok {
		done, err = copyRange(out, r.file, offset+at, left)
		if _, serr := r.Seek(done, io.SeekCurrent); err == nil {
			err = serr
		}
		if err != nil {
			return done, err
		}
	}
	if done == left {
		return done, nil
	}
	n, err := io.CopyBuffer(w, struct{ io.Reader }{r.SectionReader}, make([]byte, min(left-done, 256<<10)))
	done += n
	if err == nil && done < left {
		err = io.ErrUnexpectedEOF
	}
	return done, err
}

// copyRange copies up to n bytes and stops early, without an error, where the
// kernel or the file systems cannot do it.
func copyRange(out, in *os.File, offset, n int64) (int64, error) {
	var done int64
	for done < n {
		at := offset + done
		k, err := unix.CopyFileRange(int(in.Fd()), &at, int(out.Fd()), nil, int(min(n-done, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EIO), errors.Is(err, unix.EDQUOT):
			return done, &os.PathError{Op: "copy_file_range", Path: out.Name(), Err: err}
		case err != nil || k == 0:
			return done, nil
		}
		done += int64(k)
	}
	return done, nil
}
