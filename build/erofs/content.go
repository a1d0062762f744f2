package erofs

import (
	"crypto/sha256"
	"io"
	"sync"
)

// Content is the blob of a file in an image: a run of blocks and, in images of
// others or for small files, a tail behind the inode.
type Content struct {
	r      io.ReaderAt
	size   int64
	body   int64 // bytes in blocks
	bodyAt int64
	tailAt int64

	once sync.Once
	sum  [32]byte
}

// Size is the file's size in bytes.
func (c *Content) Size() int64 { return c.size }

// SHA256 reads the whole content when first called. If that meets an error the
// digest is all zero, which is no content's digest.
func (c *Content) SHA256() [32]byte {
	c.once.Do(func() {
		h := sha256.New()
		if n, err := io.Copy(h, io.NewSectionReader(c, 0, c.size)); err == nil && n == c.size {
			h.Sum(c.sum[:0])
		}
	})
	return c.sum
}

// Open gives a reader that also reads at offsets and need not be closed.
func (c *Content) Open() (io.ReadCloser, error) {
	return section{io.NewSectionReader(c, 0, c.size)}, nil
}

// Blocks says where in the image the content starts and how many of its bytes
// lie there in one run: all of them, or none, or all but a tail.
func (c *Content) Blocks() (offset, size int64) { return c.bodyAt, c.body }

// ReadAt reads from the content, as io.ReaderAt wants it.
func (c *Content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > c.size-off
	if short {
		b = b[:c.size-off]
	}
	n := 0
	if off < c.body {
		part := b[:min(int64(len(b)), c.body-off)]
		got, err := c.r.ReadAt(part, c.bodyAt+off)
		if n = got; n < len(part) {
			return n, noEOF(err)
		}
	}
	if n < len(b) {
		got, err := c.r.ReadAt(b[n:], c.tailAt+off+int64(n)-c.body)
		if n += got; n < len(b) {
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
