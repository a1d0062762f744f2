package payload

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"io"
)

// stream reads what follows the metadata and keeps the digest that the
// payload's signatures are over.
type stream struct {
	r      io.Reader
	m      *Metadata
	offset int64 // in the payload, of what r gives next
	h      hash.Hash
}

func newStream(r io.Reader, m *Metadata) *stream {
	s := &stream{r: r, m: m, offset: m.Size(), h: sha256.New()}
	s.h.Write(m.Bytes[:len(m.Bytes)-len(encodeSignatures(m.Signatures))])
	return s
}

// data fills b, whose first have bytes are there from before. A *CutError's
// Offset says how far it came.
func (s *stream) data(b []byte, have int) error {
	n, err := io.ReadFull(s.r, b[have:])
	s.offset += int64(n)
	if err != nil && len(b) > have {
		return &CutError{s.offset, err}
	}
	s.h.Write(b)
	return nil
}

func (s *stream) sum() [32]byte { return [32]byte(s.h.Sum(nil)) }

// signatures reads the payload's signatures, after which nothing may follow.
func (s *stream) signatures() ([]Signature, error) {
	var b bytes.Buffer
	n, err := io.CopyN(&b, s.r, s.m.Manifest.SignaturesSize)
	s.offset += n
	if n < s.m.Manifest.SignaturesSize {
		return nil, &CutError{s.offset, err}
	}
	all, err := parseSignatures(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("payload signatures: %w", err)
	}
	if err := s.m.Manifest.checkSigners("payload", all); err != nil {
		return nil, err
	}
	switch n, err := io.ReadFull(s.r, make([]byte, 1)); {
	case n > 0:
		return nil, fmt.Errorf("payload: goes on after its end at %d bytes", s.offset)
	case err != io.EOF:
		return nil, &CutError{s.offset, err}
	}
	return all, nil
}

// state saves the digest for load.
func (s *stream) state() ([]byte, error) {
	b, err := s.h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("internal error: save digest: %w", err)
	}
	return b, nil
}

func (s *stream) load(state []byte) error {
	return s.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}
