package fat

import (
	"crypto/sha256"
	"io"
	"sort"
	"sync"
)

// run is consecutive bytes of a file.
type run struct {
	at     int64 // in the file
	offset int64 // in the file system
	size   int64
}

// content is the blob of a file that was read.
type content struct {
	r    io.ReaderAt
	runs []run // ascending, without gaps
	size int64

	once sync.Once
	sum  [32]byte
}

func (c *content) Size() int64 { return c.size }

// SHA256 is all zero, which is no content's digest, if reading meets an error.
func (c *content) SHA256() [32]byte {
	c.once.Do(func() {
		h := sha256.New()
		if n, err := io.Copy(h, io.NewSectionReader(c, 0, c.size)); err == nil && n == c.size {
			h.Sum(c.sum[:0])
		}
	})
	return c.sum
}

func (c *content) Open() (io.ReadCloser, error) {
	return section{io.NewSectionReader(c, 0, c.size)}, nil
}

func (c *content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > c.size-off
	if short {
		b = b[:c.size-off]
	}
	k := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].at > off }) - 1
	n := 0
	for ; n < len(b); k++ {
		skip := off + int64(n) - c.runs[k].at
		part := b[n:min(int64(len(b)), int64(n)+c.runs[k].size-skip)]
		got, err := c.r.ReadAt(part, c.runs[k].offset+skip)
		if n += got; got < len(part) {
			return n, noEOF(err)
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// noEOF is for content that ends before its size.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }
