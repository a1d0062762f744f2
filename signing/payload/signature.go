package payload

import "context"

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
