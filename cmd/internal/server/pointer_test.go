package server_test

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/cmd/internal/server"
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

// point points a channel to one of its versions.
func (s *site) point(channel, version string, sequence int64, by *signer) {
	s.t.Helper()
	dir := filepath.Join(s.dir, channel)
	sum, err := release.Digest(filepath.Join(dir, version))
	require.NoError(s.t, err)
	d, err := release.NewPointer(&release.Pointer{
		Format: 1, Channel: channel, Version: version, Release: sum, Sequence: sequence, From: "alpha",
	})
	require.NoError(s.t, err)
	require.NoError(s.t, d.Sign(s.t.Context(), by))
	require.NoError(s.t, release.WritePointer(dir, d))
}

func beta(version string) string { return filepath.Join("beta", version) }

// Machines of a channel are offered what its pointer names, whatever else lies
// there; and no pointer counts that is not signed, or was replaced.
func TestPointer(t *testing.T) {
	s := newSite(t)
	good, stranger := newSigner(t, 1), newSigner(t, 2)
	s.keys = []key.Key{good.Key}
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		s.release("beta", version, "full "+version, nil)
	}
	app := machine("a", "0.1.0")
	app.Track = "beta"
	refused := func(want string) {
		t.Helper()
		_, err := s.s.Reload()
		require.ErrorContains(t, err, want)
		assert.Equal(t, "2.0.0", s.offered(app), "what was there stays")
		_, page := s.get(s.http.URL + "/")
		assert.Contains(t, page, `<p class="bad">channel beta: `)
	}
	s.point("beta", "2.0.0", 7, good)
	s.reload()
	require.Equal(t, "2.0.0", s.offered(app), "not current")

	s.point("beta", "1.0.0", 6, good)
	refused("channel beta: channel.json: number 6, number 7 was there before")
	s.point("beta", "1.0.0", 7, good)
	refused("channel beta: channel.json: another pointer was number 7")
	s.point("beta", "3.0.0", 8, stranger)
	refused("pointer: not signed by an accepted key: signed by " + stranger.ID)
	pointer := filepath.Join(s.dir, "beta", release.PointerFile)
	text, err := os.ReadFile(pointer)
	require.NoError(t, err)
	require.NoError(t, os.Remove(pointer))
	refused("channel beta: channel.json: gone")
	require.NoError(t, os.WriteFile(pointer, text[:100], 0o644))
	refused("unexpected end of JSON input")
	s.point("alpha", "1.0.0", 9, good)
	require.NoError(t, os.Rename(filepath.Join(s.dir, "alpha", release.PointerFile), pointer))
	refused(`is the pointer of channel "alpha", not of "beta"`)

	s.point("beta", "3.0.0", 8, good)
	manifest := filepath.Join(s.dir, beta("3.0.0"), release.Manifest)
	text, err = os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, append(text, ' '), 0o644))
	refused("not the release that the pointer names")
	require.NoError(t, os.WriteFile(manifest, text, 0o644))
	s.reload()
	assert.Equal(t, "3.0.0", s.offered(app))
	_, page := s.get(s.http.URL + "/")
	assert.Contains(t, page, "<td>beta</td><td>3.0.0</td><td>amd64</td><td>number 8, from alpha</td>")
	assert.NotContains(t, page, `<p class="bad">`)

	s.point("beta", "1.0.0", 7, good)
	s.stop()
	s.start() // other channels are served
	assert.Equal(t, "error-noPackageFound", s.ask(app).Status, "an old pointer, after a restart")
	assert.Equal(t, "1.0.0", s.offered(machine("b", "0.1.0")))
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "alpha")))
	s.stop()
	_, err = server.New(s.options())
	assert.ErrorContains(t, err, "channel beta: channel.json: number 7, number 8 was there before")
}

// A mirror may have no links.
func TestPointerWithoutCurrent(t *testing.T) {
	s := newSite(t)
	good := newSigner(t, 1)
	s.keys = []key.Key{good.Key}
	s.release("beta", "2.0.0", "full", nil)
	s.point("beta", "2.0.0", 1, good)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "beta", "current")))
	s.reload()
	app := machine("a", "0.1.0")
	app.Track = "beta"
	assert.Equal(t, "2.0.0", s.offered(app))
}

// A payload that is half copied, or not what release.json says, is not offered.
func TestPayloadIsTheOneOfTheRelease(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.dir, "alpha", "2.0.0")
	s.release("alpha", "2.0.0", "full two", nil)
	entry, err := release.Describe(dir, release.Payload, 1, true)
	require.NoError(t, err)
	text, err := (&release.Info{Format: 1, Version: "2.0.0", Architecture: "amd64", Files: []release.Entry{entry}}).Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, release.Manifest), text, 0o644))
	payload := filepath.Join(dir, release.Payload)
	for content, want := range map[string]string{
		"full": "alpha/2.0.0/update.payload: digest ", "": "update.payload: not there, release.json lists it",
	} {
		require.NoError(t, os.RemoveAll(payload))
		if content != "" {
			require.NoError(t, os.WriteFile(payload, []byte(content), 0o644))
		}
		_, err := s.s.Reload()
		assert.ErrorContains(t, err, want)
		assert.Equal(t, "1.0.0", s.offered(machine("a", "0.1.0")))
	}
	require.NoError(t, os.WriteFile(payload, []byte("full two"), 0o644))
	s.reload()
	assert.Equal(t, "2.0.0", s.offered(machine("a", "0.1.0")))
}
