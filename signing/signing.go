// Package signing holds the keys that vouch for what Slipway writes: it opens
// private keys by reference, wherever they lie, signs with them, and makes the
// development key that is used when no other is named.
//
// A reference, see Open, is one of
//
//	FILE                        a private key in PEM, plain or encrypted
//	public:FILE                 a key that is not here: the digest goes out, the
//	                            signature comes in, see Outside
//	exec:PROGRAM?pub=FILE       a program that signs the digest it reads
//	NAME://...                  a key kept by the program sigstore-kms-NAME,
//	                            which speaks sigstore's plugin protocol
//
// By a key that is here every signature is deterministic, so that equal inputs
// give equal bytes: Ed25519, RSA PKCS#1 v1.5 and ECDSA with the nonce of RFC
// 6979. Programs that only verify, such as those in the image, use package
// signing/key and its kind instead; this one links sigstore.
package signing

import (
	"context"
	"crypto"
	"fmt"

	"slipway/signing/key"
)

// Signer signs with one private key. It is safe for concurrent use. New makes
// one out of a function.
type Signer interface {
	// KeyID names the public key, see key.ID.
	KeyID() string
	// Algorithm is one of the constants of package signing/key.
	Algorithm() string
	// Public is the key to verify with.
	Public() crypto.PublicKey
	// Development says that the key is a development key: what it signs is not
	// for release.
	Development() bool
	// SignatureSize is the largest size of a signature, in bytes.
	SignatureSize() int
	// SignDigest signs a SHA-256 as package signing/key says. It has verified
	// what it returns. An error that wraps ErrPending says that the signature
	// is to be made elsewhere.
	SignDigest(ctx context.Context, digest [32]byte) ([]byte, error)
}

// New makes a signer of a public key and a function that signs digests by the
// private one, wherever that lies.
func New(public key.Key, development bool, sign func(ctx context.Context, digest [32]byte) ([]byte, error)) Signer {
	return &signer{public, development, sign}
}

type signer struct {
	key.Key
	development bool
	sign        func(context.Context, [32]byte) ([]byte, error)
}

func (s *signer) KeyID() string     { return s.ID }
func (s *signer) Algorithm() string { return s.Key.Algorithm }
func (s *signer) Development() bool { return s.development }

func (s *signer) SignDigest(ctx context.Context, digest [32]byte) ([]byte, error) {
	signature, err := s.sign(ctx, digest)
	if err != nil {
		return nil, err
	}
	if !s.VerifyDigest(digest, signature) {
		return nil, s.refusal(signature)
	}
	return signature, nil
}

// refusal says what is wrong with a signature, as far as can be seen.
func (s *signer) refusal(signature []byte) error {
	note := ""
	if len(signature) != s.SignatureSize() {
		note = fmt.Sprintf(", which makes %d", s.SignatureSize())
	}
	if s.Key.Algorithm == key.ECDSASHA256 {
		note = ", which makes ASN.1 DER (r, s)"
	}
	return fmt.Errorf("signature of %d bytes is not over this digest by key %s%s", len(signature), s.ID, note)
}

// PublicPEM is the public key of a signer as a "PUBLIC KEY" PEM block, what
// key.Parse reads.
func PublicPEM(s Signer) ([]byte, error) {
	k, err := key.New(s.Public())
	return k.PEM(), err
}

// about is how the context says what a digest is of.
type about struct{}

// About says in words what the digests signed under the context are of, for
// people who sign them elsewhere: "slot footer of slipway 4892.0.0".
func About(ctx context.Context, what string) context.Context {
	return context.WithValue(ctx, about{}, what)
}
