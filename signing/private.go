package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/youmark/pkcs8"

	"slipway/signing/key"
)

// ErrNoPassword is wrapped when a key is encrypted and there is no password.
var ErrNoPassword = errors.New("the key is encrypted and there is no password")

// ErrWrongPassword is wrapped when no password there is opens a key.
var ErrWrongPassword = errors.New("the key is encrypted with another password")

// parsePrivate reads a private key in PEM. passwords is asked for if it is
// encrypted.
func parsePrivate(text []byte, passwords func() ([][]byte, error)) (Signer, error) {
	private, err := decodePrivate(text, passwords)
	if err != nil {
		return nil, err
	}
	return newKeySigner(private, isDevelopment(text))
}

// isDevelopment says that the text of a key file, private or public, marks it
// as a development key.
func isDevelopment(text []byte) bool { return bytes.Contains(text, []byte(developmentMark)) }

func decodePrivate(text []byte, passwords func() ([][]byte, error)) (crypto.PrivateKey, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("no PEM block")
	case block.Type == "PUBLIC KEY":
		return nil, errors.New("this is a public key; signing needs the private one")
	case block.Headers["DEK-Info"] != "":
		return nil, errors.New("encrypted in the way of PEM headers, which is weak; openssl pkcs8 -topk8 converts it")
	}
	plain := pem.EncodeToMemory(block)
	if !strings.Contains(block.Type, "ENCRYPTED") {
		return cryptoutils.UnmarshalPEMToPrivateKey(plain, nil)
	}
	if passwords == nil {
		return nil, ErrNoPassword
	}
	candidates, err := passwords()
	if err != nil {
		return nil, err
	}
	for _, password := range candidates {
		private, err := cryptoutils.UnmarshalPEMToPrivateKey(plain, cryptoutils.StaticPasswordFunc(password))
		if err == nil {
			return private, nil
		}
	}
	if len(candidates) == 0 {
		return nil, ErrNoPassword
	}
	return nil, ErrWrongPassword
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

// Kinds lists what Generate makes.
func Kinds() []string {
	return []string{"ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// Generate makes a private key of one of Kinds.
func Generate(kind string) (crypto.Signer, error) {
	switch kind {
	case "ed25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "ecdsa-p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("kind of key %q: want one of %s", kind, strings.Join(Kinds(), ", "))
}

// EncodePrivate gives a private key as PEM: encrypted PKCS#8 that openssl reads
// too (PBES2, PBKDF2 with 600 000 rounds of HMAC-SHA256, AES-256-CBC), or, for
// a development key, plain and marked as one.
func EncodePrivate(private crypto.Signer, password []byte, development bool) ([]byte, error) {
	if development {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		return MarkDevelopment(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
	}
	if len(password) == 0 {
		return nil, errors.New("private key: no password to encrypt it with")
	}
	der, err := pkcs8.MarshalPrivateKey(private, password, &pkcs8.Opts{
		Cipher:  pkcs8.AES256CBC,
		KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: crypto.SHA256},
	})
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), nil
}

// ExportCosign reads a private key in PEM and gives it as cosign keeps its
// own, encrypted with the same password.
func ExportCosign(text, password []byte) ([]byte, error) {
	private, err := decodePrivate(text, func() ([][]byte, error) { return [][]byte{password}, nil })
	if err != nil {
		return nil, err
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(private, cryptoutils.StaticPasswordFunc(password))
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), nil
}

// KindOf says which of Kinds a public key is; "" if it is none.
func KindOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return "ed25519"
	case *ecdsa.PublicKey:
		return "ecdsa-p" + strings.TrimPrefix(k.Curve.Params().Name, "P-")
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	}
	return ""
}

// MarkDevelopment puts the mark of a development key in front of its PEM text,
// private or public.
func MarkDevelopment(text []byte) []byte { return append([]byte(developmentText), text...) }
