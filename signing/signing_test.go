package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
)

// write puts text into a file of the test and returns its path.
func write(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func pkcs8(t *testing.T, private crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func sample() *footer.Footer {
	hash := strings.Repeat("ab", 32)
	return &footer.Footer{
		Format: footer.Format, Name: "slipway", Version: "1.0.0", Architecture: "amd64",
		FSType: "erofs", FSSize: 4096, HashOffset: 4096, HashSize: 4096, BlockSize: 4096,
		RootHash: hash, BootID: hash,
		UKI: footer.UKI{Path: "lib/slipway/boot.efi", SHA256: hash, Size: 1},
	}
}

func TestOpenedKeysSignFooters(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), nil)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(nil, 2048)
	require.NoError(t, err)
	sealed, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(p256, cryptoutils.StaticPasswordFunc([]byte("open")))
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(p384)
	require.NoError(t, err)
	cases := []struct {
		name, algorithm string
		text            []byte
	}{
		{"ed25519", key.Ed25519, pkcs8(t, ed25519.NewKeyFromSeed(make([]byte, 32)))},
		{"p256", key.ECDSASHA256, pkcs8(t, p256)},
		{"p384 sec1", key.ECDSASHA256, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})},
		{"rsa", key.RSASHA256, pkcs8(t, rsaKey)},
		{
			"rsa pkcs1", key.RSASHA256,
			pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
		},
		{
			"encrypted p256", key.ECDSASHA256,
			pem.EncodeToMemory(&pem.Block{Type: string(cryptoutils.EncryptedSigstorePrivateKeyPEMType), Bytes: sealed}),
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := signing.Open(t.Context(), write(t, c.text), &signing.Options{Passwords: passwords("shut", "open")})
			require.NoError(t, err)
			assert.Equal(t, c.algorithm, s.Algorithm())
			assert.False(t, s.Development())

			block, err := footer.Encode(t.Context(), 1<<20, sample(), s)
			require.NoError(t, err)
			again, err := footer.Encode(t.Context(), 1<<20, sample(), s)
			require.NoError(t, err)
			assert.Equal(t, block, again, "signatures are deterministic")

			text, err := signing.PublicPEM(s)
			require.NoError(t, err)
			public, err := key.Parse(text)
			require.NoError(t, err)
			assert.Equal(t, s.KeyID(), public.ID)
			slot := strings.NewReader(strings.Repeat("\x00", 1<<20-footer.Size) + string(block))
			_, err = footer.Read(slot, 1<<20, []key.Key{public})
			assert.NoError(t, err)
		})
	}
}

func TestOpenErrors(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), nil)
	require.NoError(t, err)
	sealed, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(p521, cryptoutils.StaticPasswordFunc([]byte("open")))
	require.NoError(t, err)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: string(cryptoutils.EncryptedSigstorePrivateKeyPEMType), Bytes: sealed})
	cases := []struct {
		name string
		text []byte
		pass func(string) ([][]byte, error)
		want string
	}{
		{"not PEM", []byte("hello"), nil, "no PEM block"},
		{
			"public", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"}), nil,
			"this is a public key; signing needs the private one",
		},
		{"curve", pkcs8(t, p521), nil, "public key: ECDSA curve P-521, want P-256 or P-384"},
		{"no password", encrypted, nil, "the key is encrypted and there is no password"},
		{
			"wrong password", encrypted, passwords("shut"), "the key is encrypted with another password",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.text)
			_, err := signing.Open(t.Context(), path, &signing.Options{Passwords: c.pass})
			assert.EqualError(t, err, `key "`+path+`": `+c.want)
		})
	}
}

// passwords gives these, whatever the key.
func passwords(list ...string) func(string) ([][]byte, error) {
	return func(string) ([][]byte, error) {
		var all [][]byte
		for _, p := range list {
			all = append(all, []byte(p))
		}
		return all, nil
	}
}

func TestDevelopmentKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var mu sync.Mutex
	ids, made := map[string]int{}, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, created, err := signing.DevelopmentKey(dir)
			mu.Lock()
			defer mu.Unlock()
			if assert.NoError(t, err) {
				assert.True(t, s.Development())
				ids[s.KeyID()]++
			}
			if created {
				made++
			}
		})
	}
	wg.Wait()
	assert.Len(t, ids, 1, "everyone has the same key")
	assert.Equal(t, 1, made)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left aside")
	path := filepath.Join(dir, signing.DevelopmentKeyName)
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), st.Mode())
	st, err = os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), st.Mode().Perm())

	named, err := signing.Open(t.Context(), path, &signing.Options{})
	require.NoError(t, err)
	assert.True(t, named.Development(), "also when it is named")

	require.NoError(t, os.WriteFile(path, pkcs8(t, ed25519.NewKeyFromSeed(make([]byte, 32))), 0o600))
	_, _, err = signing.DevelopmentKey(dir)
	assert.EqualError(t, err, "development key "+path+": the file is not marked as one")
}
