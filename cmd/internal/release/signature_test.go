package release_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/signing/key"
)

// signer signs with a key made from a number.
type signer struct {
	key.Key
	private ed25519.PrivateKey
}

func newSigner(t *testing.T, n byte) *signer {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	private := ed25519.NewKeyFromSeed(seed)
	k, err := key.New(private.Public())
	require.NoError(t, err)
	return &signer{k, private}
}

func (s *signer) KeyID() string     { return s.ID }
func (s *signer) Algorithm() string { return s.Key.Algorithm }
func (s *signer) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return ed25519.Sign(s.private, digest[:]), nil
}

func TestSignaturesVouchForTheManifest(t *testing.T) {
	good, stranger := newSigner(t, 1), newSigner(t, 2)
	dir := publish(t, t.TempDir(), "1.0.0", "content")
	info, signedBy, err := release.ReadSigned(dir, []key.Key{stranger.Key, good.Key})
	require.NoError(t, err)
	assert.Equal(t, "1.0.0", info.Version)
	assert.Equal(t, []string{good.ID}, signedBy)

	_, _, err = release.ReadSigned(dir, []key.Key{stranger.Key})
	assert.EqualError(t, err, "release.json.sig: not signed by an accepted key: signed by "+good.ID+"; accepted: "+stranger.ID)

	name := filepath.Join(dir, release.Manifest)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	changed := strings.Replace(string(text), "1.0.0", "1.0.1", 1)
	require.NoError(t, os.WriteFile(name, []byte(changed), 0o644))
	_, _, err = release.ReadSigned(dir, []key.Key{good.Key})
	assert.EqualError(t, err, "release.json.sig: bad signature by "+good.ID+": release.json was changed after it was signed")
}

func TestNothingIsPublishedUnsigned(t *testing.T) {
	out := t.TempDir()
	stage, err := release.NewStage(out, "alpha", "1.0.0")
	require.NoError(t, err)
	defer stage.Close()
	pending := errors.New("pending")
	for _, signers := range [][]release.Signer{nil, {newSigner(t, 1), failing{newSigner(t, 2), pending}}} {
		_, err = stage.Publish(t.Context(), &release.Info{Format: 1, Version: "1.0.0"}, signers...)
		assert.Error(t, err)
		assert.NoDirExists(t, filepath.Join(out, "alpha", "1.0.0"))
	}
	assert.ErrorIs(t, err, pending)
}

type failing struct {
	*signer
	err error
}

func (f failing) SignDigest(context.Context, [32]byte) ([]byte, error) { return nil, f.err }

func TestFilesAreChecked(t *testing.T) {
	dir := publish(t, t.TempDir(), "1.0.0", "content")
	info, err := release.Read(dir)
	require.NoError(t, err)
	name := filepath.Join(dir, release.UKI)
	assert.NoError(t, info.Files[0].Check(dir, 1))
	require.NoError(t, os.WriteFile(name, []byte("CONTENT"), 0o644))
	assert.ErrorContains(t, info.Files[0].Check(dir, 1), name+": digest ")
	require.NoError(t, os.WriteFile(name, []byte("con"), 0o644))
	assert.EqualError(t, info.Files[0].Check(dir, 1), name+": 3 bytes, release.json says 7")

	strangers, err := info.Strangers(dir)
	require.NoError(t, err)
	assert.Empty(t, strangers)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "more"), nil, 0o644))
	strangers, err = info.Strangers(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"more"}, strangers)
}

func TestManifestNamesOnlyFilesBesideIt(t *testing.T) {
	for _, name := range []string{"../passwd", "/etc/passwd", "a/b", "..", ".", ""} {
		dir := t.TempDir()
		text := `{"format":1,"files":[{"name":"` + name + `","size":1}]}`
		require.NoError(t, os.WriteFile(filepath.Join(dir, release.Manifest), []byte(text), 0o644))
		_, err := release.Read(dir)
		assert.ErrorContains(t, err, "not a name in the directory", name)
	}
}

// sha256sum, which every machine has, reads SHA256SUMS.
func TestSumsAreRead(t *testing.T) {
	dir := publish(t, t.TempDir(), "1.0.0", "content")
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", release.Sums)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Equal(t, "boot.efi: OK\nrelease.json: OK\n", string(output))
}
