package bootengine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
)

// TestHandover takes one through the initramfs: an archive at its end with the
// file that is then read.
func TestHandover(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "initrd"))
	require.NoError(t, err)
	defer f.Close()
	sent := bootengine.Handover{Hung: true, Failures: []bootengine.Failure{
		{Label: "USR-A", Version: "1.2.3", Err: errors.New("verity: data block 7 is corrupt")},
	}}
	require.NoError(t, sent.AppendTo(f))
	archive, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	assert.Zero(t, len(archive)%4)
	assert.Equal(t, "070701", string(archive[:6]))
	assert.Contains(t, string(archive), "etc/slipway/handover.json\x00")

	text := archive[bytes.IndexByte(archive, '{') : bytes.LastIndexByte(archive, '}')+1]
	files := fstest.MapFS{"etc/slipway/handover.json": {Data: text}}
	got, err := bootengine.ReadHandover(files)
	require.NoError(t, err)
	assert.True(t, got.Hung)
	require.Len(t, got.Failures, 1)
	assert.Equal(t, "USR-A 1.2.3: verity: data block 7 is corrupt", got.Failures[0].String())
}

func TestHandoverErrors(t *testing.T) {
	got, err := bootengine.ReadHandover(fstest.MapFS{})
	assert.NoError(t, err)
	assert.Empty(t, got.Failures)
	for text, want := range map[string]string{
		"{":                        "handover: unexpected end of JSON input",
		strings.Repeat(" ", 70000): "handover: more than 65536 bytes",
	} {
		_, err := bootengine.ReadHandover(fstest.MapFS{"etc/slipway/handover.json": {Data: []byte(text)}})
		assert.EqualError(t, err, want)
	}
	many := bootengine.Handover{Failures: make([]bootengine.Failure, 2000)}
	for i := range many.Failures {
		many.Failures[i] = bootengine.Failure{Label: "USR-A", Err: errors.New(strings.Repeat("x", 40))}
	}
	assert.ErrorContains(t, many.AppendTo(nil), "at most 65536 are read")
	var f bootengine.Failure
	assert.Error(t, json.Unmarshal([]byte(`[]`), &f))
}
