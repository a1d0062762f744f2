package main_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/efivar"
)

// secureKey is the absolute path of a test key.
func secureKey(t *testing.T, name string) string {
	path, err := filepath.Abs("../../build/authenticode/testdata/" + name + "-test.pem")
	require.NoError(t, err)
	return path
}

func TestExportForFirmware(t *testing.T) {
	key := secureKey(t, "rsa2048")
	newProject(t)
	status, cert, stderr := run(t, "keys", "export", "--key", key, "--format", "cert")
	require.Zero(t, status, stderr)
	c, err := x509.ParseCertificate([]byte(cert))
	require.NoError(t, err)
	assert.Equal(t, "Slipway Secure Boot cfe8b651653f3405", c.Subject.CommonName)
	status, list, stderr := run(t, "keys", "export", "--key", key, "--format", "esl")
	require.Zero(t, status, stderr)
	entries, err := efivar.ParseLists([]byte(list))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, c.Raw, entries[0].Data)
	status, update, stderr := run(t, "keys", "export", "--key", key, "--format", "auth", "--signed-by", key)
	require.Zero(t, status, stderr)
	assert.True(t, strings.HasSuffix(update, list))

	status, _, stderr = run(t, "keys", "export", "--key", key, "--format", "auth", "--variable", "MOK")
	assert.Equal(t, 2, status)
	assert.Equal(t, "slipway: keys export: variable \"MOK\": Secure Boot knows PK, KEK, db and dbx\n", stderr)
}

// TestExportOfAKeyElsewhere has the certificate signed where the key is: the
// bytes are those of a key at hand.
func TestExportOfAKeyElsewhere(t *testing.T) {
	key := secureKey(t, "p256")
	newProject(t)
	dir := t.TempDir()
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	public := filepath.Join(dir, "public.pem")
	der, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))

	args := []string{
		"keys", "export", "--format", "cert", "--key", "public:" + public,
		"--digests-out", dir, "--signatures-in", dir,
	}
	status, _, stderr := run(t, args...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "1 digest to sign in "+dir)
	status, _, stderr = run(t, "sign", dir, "--key", key)
	require.Zero(t, status, stderr)
	status, finished, stderr := run(t, args...)
	require.Zero(t, status, stderr)
	_, direct, _ := run(t, "keys", "export", "--format", "cert", "--key", key)
	assert.Equal(t, direct, finished)
}

// TestSecureBootMistakes wants each said before anything is fetched.
func TestSecureBootMistakes(t *testing.T) {
	key, other := secureKey(t, "p256"), secureKey(t, "rsa2048")
	newProject(t)
	dir := t.TempDir()
	status, cert, _ := run(t, "keys", "export", "--key", other, "--format", "cert")
	require.Zero(t, status)
	file := filepath.Join(dir, "cert.der")
	require.NoError(t, os.WriteFile(file, []byte(cert), 0o600))
	noise := filepath.Join(dir, "noise")
	require.NoError(t, os.WriteFile(noise, []byte("x"), 0o600))
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"other's certificate", []string{"--key", key, "--secureboot-cert", file}, 2,
			"slipway: build: --secureboot-cert " + file + ": is of none of the keys that sign the image\n" +
				"hint: --secureboot-key REF names its key\n"},
		{"twice", []string{"--key", key, "--secureboot-key", key, "--secureboot-key", key}, 2,
			"slipway: build: --secureboot-key " + key + ": ef4327a0596e5f85 is given twice\n"},
		{"no certificate", []string{"--key", key, "--secureboot-cert", noise}, 1,
			"slipway: " + noise + ": certificate: neither DER nor PEM of kind CERTIFICATE\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, _, stderr := run(t, append([]string{"build"}, test.args...)...)
			assert.Equal(t, test.status, status)
			assert.Equal(t, test.want, stderr)
		})
	}
}
