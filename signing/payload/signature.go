package payload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxSignatureCount bounds the signatures in one message: each costs a
// verification.
const maxSignatureCount = 16

// Signer signs with one private key. signing.Signer is one.
type Signer interface {
	// KeyID names the key; it is written beside the signature.
	KeyID() string
	// SignatureSize is the length in bytes that no signature exceeds. It is
	// signed itself, before a signature exists; shorter ones are padded.
	SignatureSize() int
	// SignDigest signs a SHA-256 digest.
	SignDigest(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Key is a public key that payloads are accepted from.
type Key struct {
	ID string
	// Verify says whether the signature over the SHA-256 digest is the key's.
	Verify func(digest [32]byte, signature []byte) bool
	// Refused is why a known key does not count, such as "expired on
	// 2026-01-31"; empty if it does.
	Refused string
}

// Signature is one signature as a payload carries it.
type Signature struct {
	KeyID string
	Data  []byte // without padding
	size  int    // with padding
}

// encodeSignatures makes a Signatures message.
func encodeSignatures(signatures []Signature) []byte {
	var all message
	for _, s := range signatures {
		var m message
		m.bytes(signatureData, append(bytes.Clone(s.Data), make([]byte, s.size-len(s.Data))...))
		m.fixed32(signatureSize, uint32(len(s.Data)))
		m.textIfSet(signatureKeyID, s.KeyID)
		all.bytes(signaturesSignature, m)
	}
	return all
}

// parseSignatures decodes a Signatures message. Nothing else vouches for its
// bytes, so it must be exactly as encodeSignatures makes it: a change that
// means nothing is refused, too.
func parseSignatures(b []byte) ([]Signature, error) {
	var all []Signature
	err := fields(b, func(f field) error {
		if f.number != signaturesSignature || len(all) == maxSignatureCount {
			return errWire
		}
		s, err := f.signature()
		all = append(all, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(encodeSignatures(all), b) {
		return nil, errWire
	}
	return all, nil
}

func (f field) signature() (s Signature, err error) {
	var b, padded []byte
	if err := f.raw(&b); err != nil {
		return s, err
	}
	size := uint64(0)
	err = fields(b, func(f field) error {
		switch f.number {
		case signatureData:
			return f.raw(&padded)
		case signatureSize:
			size = f.value
		case signatureKeyID:
			return f.text(&s.KeyID)
		}
		return nil
	})
	if err == nil && size > uint64(len(padded)) {
		err = errWire
	}
	if err != nil {
		return s, err
	}
	s.Data, s.size = padded[:size], len(padded)
	return s, nil
}

// verify accepts a Signatures message if a key that counts has signed the
// digest, and gives the id of that key. A signature that names a known key
// must be right, even if another would do. subject begins the error.
func verify(subject string, digest [32]byte, signatures []Signature, keys []Key) (string, error) {
	good, refused := "", ""
	for _, s := range signatures {
		for _, k := range keys {
			if s.KeyID != k.ID {
				continue
			}
			switch {
			case !k.Verify(digest, s.Data):
				return "", fmt.Errorf("%s: bad signature by %s: it was changed after it was signed", subject, k.ID)
			case k.Refused != "":
				refused = fmt.Sprintf("%s: signed by %s, which is %s", subject, k.ID, k.Refused)
			case good == "":
				good = k.ID
			}
		}
	}
	switch {
	case good != "":
		return good, nil
	case refused != "":
		return "", errors.New(refused)
	}
	return "", &UnknownKeyError{Subject: subject, SignedBy: keyIDs(signatures), Accepted: acceptedIDs(keys)}
}

// UnknownKeyError says that no accepted key has signed.
type UnknownKeyError struct {
	Subject            string
	SignedBy, Accepted []string
}

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("%s: not signed by a known key: signed by %s; accepted: %s",
		e.Subject, list(e.SignedBy), list(e.Accepted))
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// keyIDs are the ids that signatures name, which come from outside.
func keyIDs(signatures []Signature) (ids []string) {
	for _, s := range signatures {
		quoted := fmt.Sprintf("%.64q", s.KeyID)
		if plain := strings.Trim(quoted, `"`); plain != "" && plain == s.KeyID {
			quoted = plain // quotes would tell nothing
		}
		ids = append(ids, quoted)
	}
	return ids
}

func acceptedIDs(keys []Key) (ids []string) {
	for _, k := range keys {
		if k.Refused == "" {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// sign asks every signer, even after one had no answer: signers that work in
// two phases then have all digests after one run.
func sign(ctx context.Context, digest [32]byte, signers []Signer) ([]Signature, error) {
	var all []Signature
	var problems []error
	for _, s := range signers {
		data, err := s.SignDigest(ctx, digest)
		if err == nil && len(data) > s.SignatureSize() {
			err = fmt.Errorf("signature of %d bytes, %d were announced", len(data), s.SignatureSize())
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("key %s: %w", s.KeyID(), err))
			continue
		}
		all = append(all, Signature{KeyID: s.KeyID(), Data: data, size: s.SignatureSize()})
	}
	return all, errors.Join(problems...)
}

// signaturesSize is the length of the message that sign's answers will make.
func signaturesSize(signers []Signer) int {
	var all []Signature
	for _, s := range signers {
		n := s.SignatureSize()
		all = append(all, Signature{KeyID: s.KeyID(), Data: make([]byte, n), size: n})
	}
	return len(encodeSignatures(all))
}
