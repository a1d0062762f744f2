package payload

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// CutError says that a payload ended, or could not be read on, before its end.
// A checkpoint may let the rest follow; see [Apply].
type CutError struct {
	Offset int64 // bytes that were there
	Err    error // of the reader
}

func (e *CutError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, io.EOF) {
		return fmt.Sprintf("payload: cut short after %d bytes", e.Offset)
	}
	return fmt.Sprintf("payload: after %d bytes: %v", e.Offset, e.Err)
}

// Unwrap gives what the reader said.
func (e *CutError) Unwrap() error { return e.Err }

// Metadata is what a payload begins with: header, manifest and metadata
// signatures.
type Metadata struct {
	Manifest   *Manifest
	Bytes      []byte // as read; the data of the operations follows them
	Digest     [32]byte
	Signatures []Signature // over Digest
	KeyID      string      // of the accepted key; empty if nothing was verified
}

// Size is the offset in bytes of the first operation's data in the payload.
func (m *Metadata) Size() int64 { return int64(len(m.Bytes)) }

// PayloadSize is the length of the whole payload in bytes.
func (m *Metadata) PayloadSize() int64 {
	return m.Size() + m.Manifest.SignaturesOffset + m.Manifest.SignaturesSize
}

// ReadMetadata reads the beginning of a payload. Nothing of the manifest is
// looked at before a signature by one of the keys has been verified; until then
// it is bounded by MaxManifest.
func ReadMetadata(r io.Reader, keys []Key) (*Metadata, error) {
	m, manifest, err := readSigned(r)
	if err != nil {
		return nil, err
	}
	if m.KeyID, err = verify("payload metadata", m.Digest, m.Signatures, keys); err != nil {
		return nil, err
	}
	m.Manifest, err = m.parse(manifest)
	return m, err
}

// InspectMetadata reads the beginning of a payload and verifies nothing: for
// tools that show what a payload says of itself.
func InspectMetadata(r io.Reader) (*Metadata, error) {
	m, manifest, err := readSigned(r)
	if err != nil {
		return nil, err
	}
	m.Manifest, err = m.parse(manifest)
	return m, err
}

// readSigned reads up to the data and takes the digest.
func readSigned(r io.Reader) (m *Metadata, manifest []byte, err error) {
	var b bytes.Buffer // grows with what is there, not with what is announced
	need := func(n int64) error {
		got, err := io.CopyN(&b, r, n)
		if got < n {
			return &CutError{int64(b.Len()), err}
		}
		return nil
	}
	if err := need(headerSize); err != nil {
		return nil, nil, err
	}
	manifestSize, signaturesSize, err := parseHeader(b.Bytes())
	if err != nil {
		return nil, nil, err
	}
	if err := need(int64(manifestSize) + int64(signaturesSize)); err != nil {
		return nil, nil, err
	}
	all := b.Bytes()
	signed, signatures := all[:headerSize+manifestSize], all[headerSize+manifestSize:]
	m = &Metadata{Bytes: all, Digest: sha256.Sum256(signed)}
	if m.Signatures, err = parseSignatures(signatures); err != nil {
		return nil, nil, fmt.Errorf("payload metadata signatures: %w", err)
	}
	return m, signed[headerSize:], nil
}

func (m *Metadata) parse(manifest []byte) (*Manifest, error) {
	parsed, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	if want := len(encodeSignatures(m.Signatures)); parsed.SignaturesSize != int64(want) {
		return nil, fmt.Errorf("payload manifest: payload signatures of %d bytes, metadata signatures of %d",
			parsed.SignaturesSize, want)
	}
	return parsed, parsed.checkSigners("payload metadata", m.Signatures)
}

// checkSigners refuses signatures by others than those the manifest names:
// what nothing else vouches for must not change unnoticed.
func (m *Manifest) checkSigners(subject string, signatures []Signature) error {
	same := func(s Signature, id string) bool { return s.KeyID == id }
	if !slices.EqualFunc(signatures, m.Signers, same) {
		return fmt.Errorf("%s: signed by %s; the manifest names %s", subject, list(keyIDs(signatures)), list(m.Signers))
	}
	return nil
}

// Reader reads a whole payload in order, for those who look at it without
// applying it.
type Reader struct {
	*Metadata
	// Signatures over the payload's Digest; set by Finish.
	PayloadSignatures []Signature
	PayloadDigest     [32]byte

	s    *stream
	next int
	buf  []byte
}

// NewReader reads the metadata, and verifies it unless keys are nil.
func NewReader(r io.Reader, keys []Key) (*Reader, error) {
	read := ReadMetadata
	if keys == nil {
		read = func(r io.Reader, _ []Key) (*Metadata, error) { return InspectMetadata(r) }
	}
	m, err := read(r, keys)
	if err != nil {
		return nil, err
	}
	return &Reader{Metadata: m, s: newStream(r, m)}, nil
}

// Next gives the next operation with its data, which is valid until the next
// call and has been checked against its digest. After the last comes io.EOF.
func (r *Reader) Next() (*Operation, []byte, error) {
	if r.next == len(r.Manifest.Operations) {
		return nil, nil, io.EOF
	}
	op := &r.Manifest.Operations[r.next]
	r.buf = grow(r.buf, int(op.DataSize))
	if err := r.s.data(r.buf, 0); err != nil {
		return nil, nil, err
	}
	if err := op.checkData(r.buf); err != nil {
		return nil, nil, fmt.Errorf("payload operation %d: %w", r.next, err)
	}
	r.next++
	return op, r.buf, nil
}

// Finish reads past operations that are left and verifies the payload's
// signatures, unless keys are nil. Nothing may follow them.
func (r *Reader) Finish(keys []Key) (keyID string, err error) {
	for err == nil {
		_, _, err = r.Next()
	}
	if err != io.EOF {
		return "", err
	}
	r.PayloadDigest = r.s.sum()
	if r.PayloadSignatures, err = r.s.signatures(); err != nil {
		return "", err
	}
	if keys == nil {
		return "", nil
	}
	return verify("payload", r.PayloadDigest, r.PayloadSignatures, keys)
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		b = make([]byte, n)
	}
	return b[:n]
}

// checkData compares the data with its digest.
func (o *Operation) checkData(data []byte) error {
	if len(data) > 0 && sha256.Sum256(data) != o.DataSHA256 {
		return fmt.Errorf("the data of %s is not what was signed", o.Type)
	}
	return nil
}
