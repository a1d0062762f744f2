package payload

import (
	"crypto/sha256"
	"testing"
)

// The parsers, for fuzzing.
func ParseManifest(b []byte) (*Manifest, error)     { return parseManifest(b) }
func ParseSignatures(b []byte) ([]Signature, error) { return parseSignatures(b) }
func ParseHeader(b []byte) (int, int, error)        { return parseHeader(b) }
func EncodeManifest(m *Manifest) []byte             { return encodeManifest(m) }
func EncodeSignatures(s []Signature) []byte         { return encodeSignatures(s) }

// Unpack unpacks one frame.
func Unpack(frame []byte, size int) ([]byte, error) {
	var u unpacker
	defer u.close()
	return u.unpack(frame, size)
}

// Resign makes a payload out of parts that need not make sense: any manifest
// in wire format, any data.
func Resign(t testing.TB, manifest, data []byte, s Signer) []byte {
	t.Helper()
	sign := func(digest [32]byte) []byte {
		signatures, err := sign(t.Context(), digest, []Signer{s})
		if err != nil {
			t.Fatal(err)
		}
		return encodeSignatures(signatures)
	}
	metadata := append(encodeHeader(len(manifest), signaturesSize([]Signer{s})), manifest...)
	all := append([]byte(nil), metadata...)
	all = append(all, sign(sha256.Sum256(metadata))...)
	all = append(all, data...)
	return append(all, sign(sha256.Sum256(append(metadata, data...)))...)
}
