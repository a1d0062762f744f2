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
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"slipway/signing/footer"
)

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 64 << 10

// Signer signs with one private key. It is safe for concurrent use.
type Signer interface {
	// KeyID names the public key: footer.KeyID of it.
	KeyID() string
	// Algorithm is one of the constants of package footer.
	Algorithm() string
	// Sign returns the signature of the whole message; the same message
	// gives the same signature.
	Sign(message []byte) ([]byte, error)
	// Public is the key to verify with.
	Public() crypto.PublicKey
	// Development says that the key was made by DevelopmentKey: what it signs
	// is not for release.
	Development() bool
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
// footer.ParseKey reads.
func PublicPEM(s Signer) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", s.KeyID(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
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

// keySigner signs with a private key in memory.
type keySigner struct {
	private     crypto.Signer
	id          string
	algorithm   string
	development bool
}

func newKeySigner(private crypto.PrivateKey, development bool) (*keySigner, error) {
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of kind %T cannot sign", private)
	}
	algorithm, err := footer.AlgorithmOf(s.Public())
	if err != nil {
		return nil, err
	}
	id, err := footer.KeyID(s.Public())
	if err != nil {
		return nil, err
	}
	return &keySigner{private: s, id: id, algorithm: algorithm, development: development}, nil
}

func (k *keySigner) KeyID() string            { return k.id }
func (k *keySigner) Algorithm() string        { return k.algorithm }
func (k *keySigner) Public() crypto.PublicKey { return k.private.Public() }
func (k *keySigner) Development() bool        { return k.development }

func (k *keySigner) Sign(message []byte) ([]byte, error) {
	if k.algorithm == footer.Ed25519 {
		return k.private.Sign(nil, message, crypto.Hash(0))
	}
	// Without a source of randomness ECDSA takes its nonce from the key and
	// the digest (RFC 6979), and RSA PKCS#1 v1.5 needs none.
	digest := sha256.Sum256(message)
	return k.private.Sign(nil, digest[:], crypto.SHA256)
}
