package release_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
)

func publish(t *testing.T, out, version, content string) string {
	t.Helper()
	stage, err := release.NewStage(out, "alpha", version)
	require.NoError(t, err)
	defer stage.Close()
	require.NoError(t, os.WriteFile(filepath.Join(stage.Dir, release.UKI), []byte(content), 0o644))
	entry, err := release.Describe(stage.Dir, release.UKI, 2, true)
	require.NoError(t, err)
	dir, err := stage.Publish(t.Context(), &release.Info{Format: 1, Version: version, Files: []release.Entry{entry}}, newSigner(t, 1))
	require.NoError(t, err)
	return dir
}

func TestPublishReplacesAndLinks(t *testing.T) {
	out := t.TempDir()
	publish(t, out, "1.0.0", "old")
	dir := publish(t, out, "1.0.0", "new")
	publish(t, out, "2.0.0", "newest")

	info, err := release.Read(dir)
	require.NoError(t, err)
	assert.True(t, info.Complete(dir))
	sum := sha256.Sum256([]byte("new"))
	assert.Equal(t, hex.EncodeToString(sum[:]), info.Files[0].SHA256)

	target, err := os.Readlink(filepath.Join(out, "alpha", "current"))
	require.NoError(t, err)
	assert.Equal(t, "2.0.0", target)
	entries, err := filepath.Glob(filepath.Join(out, "alpha", ".*"))
	require.NoError(t, err)
	assert.Empty(t, entries, "left over")
}

func TestStageLeftByKilledBuildIsRemoved(t *testing.T) {
	out := t.TempDir()
	left := filepath.Join(out, "alpha", ".partial")
	require.NoError(t, os.MkdirAll(left, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(left, "junk"), nil, 0o644))
	stage, err := release.NewStage(out, "alpha", "1.0.0")
	require.NoError(t, err)
	defer stage.Close()
	assert.NoFileExists(t, filepath.Join(stage.Dir, "junk"))

	_, err = release.NewStage(out, "alpha", "1.0.1")
	assert.ErrorIs(t, err, release.ErrBusy)
}

func TestIncompleteReleaseIsNoticed(t *testing.T) {
	dir := publish(t, t.TempDir(), "1.0.0", "bytes")
	require.NoError(t, os.Truncate(filepath.Join(dir, release.UKI), 2))
	info, err := release.Read(dir)
	require.NoError(t, err)
	assert.False(t, info.Complete(dir))
}

// The digest of a disk is defined by its bytes, not by where its holes are.
func TestChunksIgnoreHoles(t *testing.T) {
	dir := t.TempDir()
	const size = 5*release.ChunkSize + 17
	content := make([]byte, size)
	copy(content[3*release.ChunkSize-2:], "data")
	write := func(sparse bool) string {
		f, err := os.Create(filepath.Join(dir, release.Disk))
		require.NoError(t, err)
		defer f.Close()
		if sparse {
			require.NoError(t, f.Truncate(size))
			_, err = f.WriteAt([]byte("data"), 3*release.ChunkSize-2)
		} else {
			_, err = f.Write(content)
		}
		require.NoError(t, err)
		e, err := release.Describe(dir, release.Disk, 3, false)
		require.NoError(t, err)
		assert.EqualValues(t, size, e.Size)
		return e.Chunks
	}
	h := sha256.New()
	for at := 0; at < size; at += release.ChunkSize {
		sum := sha256.Sum256(content[at:min(at+release.ChunkSize, size)])
		h.Write(sum[:])
	}
	want := hex.EncodeToString(h.Sum(nil))
	assert.Equal(t, want, write(true))
	assert.Equal(t, want, write(false))
}
