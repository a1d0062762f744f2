package key_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/key"
)

func TestParseErrors(t *testing.T) {
	weak, err := x509.MarshalPKIXPublicKey(weakRSA())
	require.NoError(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), nil)
	require.NoError(t, err)
	curve, err := x509.MarshalPKIXPublicKey(p521.Public())
	require.NoError(t, err)
	cases := []struct{ name, text, want string }{
		{"empty", "", "public key: no PEM block"},
		{"private", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"})), `public key: PEM block is "PRIVATE KEY", want "PUBLIC KEY"`},
		{"weak", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: weak})), "public key: RSA of 1024 bits, want 2048, 3072 or 4096"},
		{"curve", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: curve})), "public key: ECDSA curve P-521, want P-256 or P-384"},
		{"long", strings.Repeat("x", 70000), "public key: 70000 bytes, want at most 65536"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := key.Parse([]byte(c.text))
			assert.EqualError(t, err, c.want)
		})
	}
}

// Every kind verifies what its private half signed, and nothing else.
func TestVerifyDigest(t *testing.T) {
	digest := sha256.Sum256([]byte("what was built"))
	for _, c := range []struct {
		name, algorithm string
		private         crypto.Signer
		size            int
	}{
		{"ed25519", key.Ed25519, ed25519.NewKeyFromSeed(make([]byte, 32)), 64},
		{"p256", key.ECDSASHA256, newECDSA(t, elliptic.P256()), 72},
		{"p384", key.ECDSASHA256, newECDSA(t, elliptic.P384()), 104},
		{"rsa2048", key.RSASHA256, newRSA(t, 2048), 256},
		{"rsa3072", key.RSASHA256, newRSA(t, 3072), 384},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := key.New(c.private.Public())
			require.NoError(t, err)
			k, err := key.Parse(made.PEM())
			require.NoError(t, err)
			assert.Equal(t, made, k)
			assert.Equal(t, c.algorithm, k.Algorithm)
			assert.Len(t, k.ID, 16)
			assert.Equal(t, c.size, k.SignatureSize())

			hash := crypto.SHA256
			if c.algorithm == key.Ed25519 {
				hash = 0
			}
			signature, err := c.private.Sign(nil, digest[:], hash)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(signature), c.size)
			assert.True(t, k.VerifyDigest(digest, signature))
			assert.False(t, k.VerifyDigest(sha256.Sum256(nil), signature), "of something else")
			assert.False(t, k.VerifyDigest(digest, append(signature, 0)), "too long")
			assert.False(t, k.VerifyDigest(digest, nil), "none")
			signature[len(signature)/2] ^= 1
			assert.False(t, k.VerifyDigest(digest, signature), "damaged")
		})
	}
	assert.False(t, key.Key{}.VerifyDigest(digest, nil), "the zero value verifies nothing")
	assert.Nil(t, key.Key{}.PEM())
	assert.Zero(t, key.Key{}.SignatureSize())
}

func newECDSA(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, nil)
	require.NoError(t, err)
	return private
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(nil, bits)
	require.NoError(t, err)
	return private
}

func FuzzParse(f *testing.F) {
	public, err := key.New(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	require.NoError(f, err)
	f.Add(public.PEM())
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := key.Parse(text)
		if err != nil {
			return
		}
		again, err := key.Parse(k.PEM())
		require.NoError(t, err)
		assert.Equal(t, k.ID, again.ID)
		assert.False(t, k.VerifyDigest([32]byte{1}, text))
	})
}

// weakRSA is a number of 1024 bits that looks like a public key.
func weakRSA() *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
}
