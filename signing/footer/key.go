package footer

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

// The signature algorithms a footer may carry. Each belongs to one kind of key.
const (
	Ed25519     = "ed25519"             // the message itself
	ECDSASHA256 = "ecdsa-sha256"        // ASN.1 DER (r, s), P-256 or P-384
	RSASHA256   = "rsa-pkcs1v15-sha256" // at least 2048 bits
	minRSABits  = 2048
	maxKeyBytes = 64 << 10
)

// Key is a public key that may vouch for slots.
type Key struct {
	ID        string // see KeyID
	Algorithm string // the only one accepted with this key
	public    crypto.PublicKey
}

// KeyID names a public key in footers, payloads and messages: the first 16 hex
// digits of the SHA-256 of its PKIX DER form.
func KeyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8]), nil
}

// NewKey wraps a public key: ed25519.PublicKey, *ecdsa.PublicKey (P-256, P-384)
// or *rsa.PublicKey (2048 bits or more).
func NewKey(public crypto.PublicKey) (Key, error) {
	algorithm, err := AlgorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	id, err := KeyID(public)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: id, Algorithm: algorithm, public: public}, nil
}

// AlgorithmOf names the one algorithm that is used with a public key, and
// refuses keys that are too weak or of a kind not supported.
func AlgorithmOf(public crypto.PublicKey) (string, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		if name := k.Curve.Params().Name; name != "P-256" && name != "P-384" {
			return "", fmt.Errorf("public key: ECDSA curve %s, want P-256 or P-384", name)
		}
		return ECDSASHA256, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return "", fmt.Errorf("public key: RSA of %d bits, want at least %d", bits, minRSABits)
		}
		return RSASHA256, nil
	}
	return "", fmt.Errorf("public key: kind %T is not supported", public)
}

// ParseKey reads one public key in PEM form ("PUBLIC KEY", PKIX). Text around
// the block is passed over.
func ParseKey(text []byte) (Key, error) {
	if len(text) > maxKeyBytes {
		return Key{}, fmt.Errorf("public key: %d bytes, want at most %d", len(text), maxKeyBytes)
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
	return NewKey(public)
}

// verify reports whether signature is this key's over message.
func (k Key) verify(message, signature []byte) bool {
	digest := sha256.Sum256(message)
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest[:], signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}
