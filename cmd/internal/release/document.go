package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"slipway/cmd/internal/durable"
	"slipway/signing/key"
)

// Document is what is said of a release after it was made, in one file with
// the signatures over it, so that both change by one rename:
//
//	{"pointer": {...}, "signatures": [...]}
//
// The signatures are those of Signature, over the SHA-256 digest of
// "slipway pointer 1\n" and the inner object without white space. T is a type
// that checks itself.
type Document[T validator] struct {
	Body       T
	Signatures []Signature

	kind   string
	signed []byte // Body as JSON without white space
}

// validator is the body of a document.
type validator interface{ Validate() error }

// newDocument prepares a body for signing.
func newDocument[T validator](kind string, body T) (*Document[T], error) {
	if err := body.Validate(); err != nil {
		return nil, err
	}
	signed, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return &Document[T]{Body: body, kind: kind, signed: signed}, nil
}

// readDocument reads a document. It verifies no signature: see Verify.
func readDocument[T validator](name, kind string, body T) (*Document[T], error) {
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(text, kind, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

func parseDocument[T validator](text []byte, kind string, body T) (*Document[T], error) {
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(text, &outer); err != nil {
		return nil, err
	}
	d := &Document[T]{Body: body, kind: kind}
	inner, ok := outer[kind]
	if !ok || len(outer) != 2 || outer["signatures"] == nil {
		return nil, fmt.Errorf("is no %s with signatures", kind)
	}
	if err := json.Unmarshal(outer["signatures"], &d.Signatures); err != nil {
		return nil, err
	}
	if len(d.Signatures) > maxSignatures {
		return nil, fmt.Errorf("%d signatures, want at most %d", len(d.Signatures), maxSignatures)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, inner); err != nil {
		return nil, err
	}
	d.signed = compact.Bytes()
	dec := json.NewDecoder(bytes.NewReader(d.signed))
	dec.DisallowUnknownFields()
	if err := dec.Decode(body); err != nil {
		return nil, err
	}
	return d, body.Validate()
}

// Digest is what signatures are made over.
func (d *Document[T]) Digest() [32]byte {
	return sha256.Sum256(slices.Concat([]byte("slipway "+d.kind+" 1\n"), d.signed))
}

// Sign has every signer sign, in place of older signatures by the same keys.
func (d *Document[T]) Sign(ctx context.Context, signers ...Signer) error {
	added, err := signDigest(ctx, d.kind, d.Digest(), signers)
	if err != nil {
		return err
	}
	d.Signatures, err = replaceSignatures(d.kind, d.Signatures, added)
	return err
}

// Verify checks that one of the keys at least has signed, and that every
// signature by one of them is right. It gives the ids of those keys.
func (d *Document[T]) Verify(keys []key.Key) ([]string, error) {
	return verifySignatures(d.kind, d.Digest(), d.Signatures, keys)
}

// Encode gives the document as text, indented for people.
func (d *Document[T]) Encode() ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // what is signed stays as it is
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{
		d.kind: json.RawMessage(d.signed), "signatures": append([]Signature{}, d.Signatures...),
	})
	return text.Bytes(), err
}

// write puts the document into its place, by one rename.
func (d *Document[T]) write(name string) error {
	text, err := d.Encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(name, text)
}
