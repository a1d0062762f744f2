package tree

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

// Bytes is a Blob held in memory, for small generated files.
func Bytes(b []byte) Blob { return &memory{data: b, sum: sha256.Sum256(b)} }

type memory struct {
	data []byte
	sum  [32]byte
}

func (m *memory) Size() int64      { return int64(len(m.data)) }
func (m *memory) SHA256() [32]byte { return m.sum }
func (m *memory) Open() (io.ReadCloser, error) {
	return readerNopCloser{bytes.NewReader(m.data)}, nil
}

// readerNopCloser keeps ReadAt and WriteTo of bytes.Reader visible, which
// io.NopCloser hides.
type readerNopCloser struct{ *bytes.Reader }

func (readerNopCloser) Close() error { return nil }

// ReadAll returns a blob's whole content and checks it against the digest; the
// error is then a *DigestError.
func ReadAll(b Blob) ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, b.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	if want, got := b.SHA256(), sha256.Sum256(data); got != want {
		return nil, &DigestError{Want: want, Got: got}
	}
	return data, nil
}

// DigestError says that a content is not what its digest says: it was damaged
// where it is kept.
type DigestError struct{ Want, Got [32]byte }

// Error names both digests.
func (e *DigestError) Error() string {
	return fmt.Sprintf("content has sha256 %x, should have %x", e.Got, e.Want)
}

// Stored is a Blob whose bytes are a whole file on the host. The caller vouches
// for size and digest, and keeps the file as it is.
func Stored(path string, size int64, sum [32]byte) Blob { return &stored{path, size, sum} }

type stored struct {
	path string
	size int64
	sum  [32]byte
}

func (s *stored) Size() int64                  { return s.size }
func (s *stored) SHA256() [32]byte             { return s.sum }
func (s *stored) Open() (io.ReadCloser, error) { return os.Open(s.path) }
