package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// holeReader reads a file without having the kernel make pages of zeros for its
// holes: more than half of a slot are those.
type holeReader struct{ *os.File }

func (r holeReader) ReadAt(b []byte, off int64) (n int, err error) {
	// What is no file, or knows no holes, says so or calls everything data.
	data, err := unix.Seek(int(r.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		st, err := r.Stat()
		if err != nil {
			return 0, err
		}
		data = st.Size()
	} else if err != nil {
		data = off
	}
	n = int(min(int64(len(b)), max(data-off, 0)))
	clear(b[:n])
	if n == len(b) {
		return n, nil
	}
	more, err := r.File.ReadAt(b[n:], off+int64(n))
	return n + more, err
}
