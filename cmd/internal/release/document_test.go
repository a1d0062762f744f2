package release_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/signing/key"
)

func pointer() *release.Pointer {
	return &release.Pointer{
		Format: 1, Name: "slipway", Channel: "beta", Version: "1.0.0", Release: strings.Repeat("ab", 32),
		From: "alpha", Date: "2026-11-20T00:00:00Z", Sequence: 3,
	}
}

func TestPointerRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "beta")
	require.NoError(t, os.Mkdir(dir, 0o755))
	one, two, stranger := newSigner(t, 1), newSigner(t, 2), newSigner(t, 3)
	d, err := release.NewPointer(pointer())
	require.NoError(t, err)
	require.NoError(t, d.Sign(t.Context(), one))
	require.NoError(t, d.Sign(t.Context(), two, one))
	assert.Len(t, d.Signatures, 2)
	require.NoError(t, release.WritePointer(dir, d))
	got, err := release.ReadPointer(dir)
	require.NoError(t, err)
	assert.Equal(t, pointer(), got.Body)
	by, err := got.Verify([]key.Key{stranger.Key, two.Key})
	require.NoError(t, err)
	assert.Equal(t, []string{two.ID}, by)
	_, err = got.Verify([]key.Key{stranger.Key})
	assert.EqualError(t, err, "pointer: not signed by an accepted key: signed by "+two.ID+", "+one.ID+"; accepted: "+stranger.ID)

	name := filepath.Join(dir, release.PointerFile)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	for from, to := range map[string]string{`"sequence": 3`: `"sequence": 4`, `1.0.0`: `1.0.1`, `"alpha"`: `"gamma"`} {
		require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(text), from, to, 1)), 0o644))
		got, err = release.ReadPointer(dir)
		require.NoError(t, err)
		_, err = got.Verify([]key.Key{one.Key})
		assert.EqualError(t, err, "pointer: bad signature by "+one.ID+": pointer was changed after it was signed")
	}
	// White space is no change.
	require.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(string(text), "\n", " ")), 0o644))
	got, err = release.ReadPointer(dir)
	require.NoError(t, err)
	_, err = got.Verify([]key.Key{one.Key})
	assert.NoError(t, err)
}

func TestPointersThatMakeNoSense(t *testing.T) {
	for want, spoil := range map[string]func(*release.Pointer){
		"pointer: format 2, want 1":                            func(p *release.Pointer) { p.Format = 2 },
		`pointer: channel "../alpha": not a name`:              func(p *release.Pointer) { p.Channel = "../alpha" },
		`pointer: version "a/b": not a name`:                   func(p *release.Pointer) { p.Version = "a/b" },
		`pointer: version "..": not a name`:                    func(p *release.Pointer) { p.Version = ".." },
		`pointer: release_sha256 "abab": not a SHA-256 digest`: func(p *release.Pointer) { p.Release = "abab" },
		"pointer: sequence 0: less than 1":                     func(p *release.Pointer) { p.Sequence = 0 },
	} {
		p := pointer()
		spoil(p)
		_, err := release.NewPointer(p)
		assert.EqualError(t, err, want)
	}
}

func FuzzReadDocument(f *testing.F) {
	f.Add([]byte(`{"pointer": {"format":1,"name":"s","channel":"beta","version":"1.0.0","release_sha256":"` +
		strings.Repeat("ab", 32) + `","promoted_from":"a","date":"","sequence":1}, "signatures": []}`))
	f.Add([]byte(`{"evidence": {"format":1,"name":"s","version":"1.0.0","runs":[{"cases":[{"name":"a","result":"pass"}]}]}, "signatures": []}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := filepath.Join(t.TempDir(), "beta")
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, release.PointerFile), text, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, release.EvidenceFile), text, 0o644))
		signer := newSigner(t, 1)
		if d, err := release.ReadPointer(dir); err == nil {
			again(t, d.Sign(t.Context(), signer), func() error { return release.WritePointer(dir, d) })
			got, err := release.ReadPointer(dir)
			require.NoError(t, err)
			assert.Equal(t, d.Body, got.Body)
			_, err = got.Verify([]key.Key{signer.Key})
			require.NoError(t, err)
		}
		if d, err := release.ReadEvidence(dir); err == nil {
			_, _ = d.Body.Check(&release.Info{Name: "s", Version: "1.0.0"}, []string{"a"})
			require.NoError(t, d.Body.Validate())
		}
	})
}

// again writes what was signed; a document with as many signatures as there may
// be takes no more.
func again(t *testing.T, err error, write func() error) {
	t.Helper()
	if err != nil {
		t.Skip(err)
	}
	require.NoError(t, write())
}
