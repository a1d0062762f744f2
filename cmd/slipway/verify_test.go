package main_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
)

// writePublicKey writes the public half of writeKey's key.
func writePublicKey(t *testing.T, name string, seed byte) {
	t.Helper()
	secret := make([]byte, ed25519.SeedSize)
	secret[0] = seed
	der, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(secret).Public())
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	require.NoError(t, os.WriteFile(name, text, 0o644))
}

// TestVerify builds a release and checks it, whole and with one thing wrong.
func TestVerify(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	dir := t.TempDir()
	key, pub, other := filepath.Join(dir, "key"), filepath.Join(dir, "pub"), filepath.Join(dir, "other")
	writeKey(t, key)
	writePublicKey(t, pub, 0)
	writePublicKey(t, other, 1)
	status, stdout, stderr := run(t, "build", "--key", key, "--payload", "development", "--out", filepath.Join(dir, "out"))
	require.Zero(t, status, stderr)
	lines := strings.Fields(stdout)
	require.NotEmpty(t, lines)
	made := lines[len(lines)-1]

	status, _, stderr = run(t, "verify", made, "--pub", other, "--pub", pub)
	assert.Zero(t, status, stderr)
	assert.Contains(t, stderr, "every block as signed")

	status, _, stderr = run(t, "verify", made, "--pub", other)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: release.json.sig: not signed by an accepted key: signed by ")

	status, _, stderr = run(t, "verify", made)
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "--pub missing")

	for _, name := range []string{release.Disk, release.Slot, release.UKI, release.Payload, release.Lock, release.Log} {
		undo := flipByte(t, filepath.Join(made, name), 40)
		status, _, stderr = run(t, "verify", made, "--pub", pub)
		assert.Equal(t, 1, status, name)
		assert.Contains(t, stderr, name+": digest ")
		assert.Contains(t, stderr, "\nhint: ")
		undo()
	}
	undo := flipByte(t, filepath.Join(made, release.Manifest), 40)
	_, _, stderr = run(t, "verify", made, "--pub", pub)
	assert.Contains(t, stderr, "slipway: release.json.sig: bad signature by ")
	undo()

	delta := filepath.Join(made, "update-from-1.0.0.payload")
	require.NoError(t, os.Link(filepath.Join(made, release.Payload), delta))
	status, _, stderr = run(t, "verify", made, "--pub", pub)
	assert.Zero(t, status, stderr)
	assert.Contains(t, stderr, "payloads   2, to ")
	require.NoError(t, os.Remove(delta))
	require.NoError(t, os.WriteFile(delta, []byte("CrAU"), 0o644))
	status, _, stderr = run(t, "verify", made, "--pub", pub)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: "+delta+": payload: ")
	require.NoError(t, os.Remove(delta))

	require.NoError(t, os.WriteFile(filepath.Join(made, "extra"), nil, 0o644))
	_, _, stderr = run(t, "verify", made, "--pub", pub)
	assert.Contains(t, stderr, "extra: not named by release.json")
}

// flipByte changes one byte of a file; undo changes it back.
func flipByte(t *testing.T, name string, at int64) (undo func()) {
	t.Helper()
	flip := func() {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at)
		require.NoError(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
		require.NoError(t, err)
	}
	flip()
	return flip
}
