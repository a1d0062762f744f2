// Package key holds public keys: it reads them, names them, and verifies
// signatures made by them.
//
// Everything Slipway signs is signed through its SHA-256 digest, whatever the
// kind of key, so that every signer, also one behind a wire or an air gap, is
// handed 32 bytes:
//
//   - RSA of 2048, 3072 or 4096 bits: PKCS#1 v1.5 over the digest as SHA-256
//   - ECDSA on P-256 or P-384: over the digest, ASN.1 DER (r, s)
//   - Ed25519: the 32 bytes of the digest are the message
//
// The package uses the standard library only: the boot engine and the update
// engine link it. It knows no private keys (see package signing) and no
// validity (see package signing/keyset).
package key

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// The signature algorithms. Each belongs to one kind of key.
const (
	Ed25519     = "ed25519"
	ECDSASHA256 = "ecdsa-sha256"
	RSASHA256   = "rsa-pkcs1v15-sha256"
)

// maxText bounds what Parse looks at, in bytes.
const maxText = 64 << 10

// Key is a public key. The zero value verifies nothing.
type Key struct {
	ID        string // see function ID
	Algorithm string // the only one accepted with this key
	public    crypto.PublicKey
}

// ID names a public key in footers, payloads and messages: the first 16 hex
// digits of the SHA-256 of its PKIX DER form.
func ID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8]), nil
}

// New wraps a public key: ed25519.PublicKey, *ecdsa.PublicKey or
// *rsa.PublicKey, of the sizes the package names.
func New(public crypto.PublicKey) (Key, error) {
	algorithm, err := algorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	id, err := ID(public)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: id, Algorithm: algorithm, public: public}, nil
}

// algorithmOf names the one algorithm that is used with a public key, and
// refuses keys that are too weak or of a kind not supported.
func algorithmOf(public crypto.PublicKey) (string, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		if name := k.Curve.Params().Name; name != "P-256" && name != "P-384" {
			return "", fmt.Errorf("public key: ECDSA curve %s, want P-256 or P-384", name)
		}
		return ECDSASHA256, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits != 2048 && bits != 3072 && bits != 4096 {
			return "", fmt.Errorf("public key: RSA of %d bits, want 2048, 3072 or 4096", bits)
		}
		return RSASHA256, nil
	}
	return "", fmt.Errorf("public key: kind %T is not supported", public)
}

// Parse reads one public key in PEM form ("PUBLIC KEY", PKIX). Text around the
// block is passed over.
func Parse(text []byte) (Key, error) {
	if len(text) > maxText {
		return Key{}, fmt.Errorf("public key: %d bytes, want at most %d", len(text), maxText)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, errors.New("public key: no PEM block")
	}
	if block.Type != "PUBLIC KEY" {
		return Key{}, fmt.Errorf("public key: PEM block is %q, want %q", block.Type, "PUBLIC KEY")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("public key: %w", err)
	}
	return New(public)
}

// Public is the key as package crypto knows it.
func (k Key) Public() crypto.PublicKey { return k.public }

// PEM is the key in the form Parse reads; nil for the zero value.
func (k Key) PEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// SignatureSize is the largest size of a signature by this key, in bytes. RSA
// and Ed25519 signatures always have it; ECDSA's may be a few bytes shorter.
func (k Key) SignatureSize() int {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.SignatureSize
	case *ecdsa.PublicKey:
		n := (public.Curve.Params().BitSize + 7) / 8
		return 2 + 2*(2+n+1) // a sequence of two integers, each with a sign byte
	case *rsa.PublicKey:
		return public.Size()
	}
	return 0
}

// VerifyDigest reports whether signature is this key's over digest.
func (k Key) VerifyDigest(digest [32]byte, signature []byte) bool {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, digest[:], signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest[:], signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}
