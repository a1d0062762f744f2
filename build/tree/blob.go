package tree

import (
	"bytes"
	"crypto/sha256"
	"io"
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
