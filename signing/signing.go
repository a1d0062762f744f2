// Package signing holds the keys that vouch for what Slipway writes: it loads
// private keys by reference, signs with them, and makes the development key
// that is used when no other is named.
//
// Every signature is deterministic, so that equal inputs give equal bytes:
// Ed25519, RSA PKCS#1 v1.5 and ECDSA with the nonce of RFC 6979. Programs that
// only verify, such as those in the image, use package signing/footer and its
// kind instead; this one links sigstore.
package signing

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"slipway/signing/key"
)

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 64 << 10

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
		return nil, fmt.Errorf("signature of %d bytes is not by this key over this digest", len(signature))
	}
	return signature, nil
}

// LoadSigner opens the private key that ref names: the path of a PEM file with
// an Ed25519, ECDSA (P-256, P-384) or RSA (2048 bits or more) key, as PKCS#8,
// PKCS#1 or SEC 1, plain or encrypted (sigstore, openssl). pass is asked for
// the password of an encrypted key; nil means there is none to be had.
func LoadSigner(ref string, pass func() ([]byte, error)) (Signer, error) {
	if scheme, _, ok := strings.Cut(ref, "://"); ok {
		return nil, fmt.Errorf("key %q: references of kind %q are not supported; name a PEM file", ref, scheme)
	}
	text, err := readKeyFile(ref)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", ref, err)
	}
	s, err := parseSigner(text, pass)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", ref, err)
	}
	return s, nil
}

// PublicPEM is the public key of a signer as a "PUBLIC KEY" PEM block, what
// key.Parse reads.
func PublicPEM(s Signer) ([]byte, error) {
	k, err := key.New(s.Public())
	return k.PEM(), err
}

func readKeyFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, path.Err
	} else if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFile {
		return nil, fmt.Errorf("not a file of at most %d bytes", maxKeyFile)
	}
	return os.ReadFile(path)
}

func parseSigner(text []byte, pass func() ([]byte, error)) (Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if block.Type == "PUBLIC KEY" {
		return nil, errors.New("this is a public key; signing needs the private one")
	}
	ask := func(bool) ([]byte, error) {
		if pass == nil {
			return nil, errors.New("the key is encrypted and there is no password")
		}
		return pass()
	}
	if !strings.Contains(block.Type, "ENCRYPTED") {
		ask = nil
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("encrypted in the way of PEM headers, which is weak; openssl pkcs8 -topk8 converts it")
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), ask)
	if err != nil {
		return nil, err
	}
	return newKeySigner(private, bytes.Contains(text, []byte(developmentMark)))
}

// newKeySigner signs with a private key in memory.
func newKeySigner(private crypto.PrivateKey, development bool) (Signer, error) {
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of kind %T cannot sign", private)
	}
	public, err := key.New(s.Public())
	if err != nil {
		return nil, err
	}
	hash := crypto.SHA256
	if public.Algorithm == key.Ed25519 {
		hash = 0 // the digest is the message
	}
	return New(public, development, func(_ context.Context, digest [32]byte) ([]byte, error) {
		// Without a source of randomness ECDSA takes its nonce from the key and
		// the digest (RFC 6979), and RSA PKCS#1 v1.5 needs none.
		return s.Sign(nil, digest[:], hash)
	}), nil
}
