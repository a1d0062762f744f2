package tree

import (
	"bytes"
	"crypto/sha256"
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

// ReadAll returns a blob's whole content.
func ReadAll(b Blob) ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, b.Size())
	_, err = io.ReadFull(r, data)
	return data, err
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
