package payload_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

var update = flag.Bool("update", false, "write the golden files anew, and fail")

// Machines that are out there read payloads of today: the files here were made
// by earlier versions and must be accepted by every later one. They are made
// anew only when the format changes before its first release.
func TestPayloadsOfEarlierVersions(t *testing.T) {
	s, e := newEd25519("one", 1), newECDSA(t, "two")
	old, img, p := delta(t, s, e)
	made := map[string][]byte{"testdata/delta.payload": p, "testdata/full.payload": full(t, image(24, 2), s, e)}
	if *update {
		for name, content := range made {
			require.NoError(t, os.WriteFile(name, content, 0o644))
		}
		t.Fatal("golden files written")
	}
	for name, want := range map[string][]byte{"testdata/delta.payload": img, "testdata/full.payload": image(24, 2)} {
		p, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, key := range []payload.Key{s.key, e.key} {
			o, d := options(len(want), old, key)
			m, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
			require.NoError(t, err, name)
			assert.True(t, bytes.Equal(want, d.b), name)
			assert.Equal(t, "4892.0.0", m.Manifest.Info.Version)
			assert.Equal(t, []string{"one", "two"}, m.Manifest.Signers)
		}
	}
}
