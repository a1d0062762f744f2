package verity_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/build/verity"
)

// veritysetup format writes the same bytes, and veritysetup verify accepts
// ours.
func TestJudgeVeritysetup(t *testing.T) {
	for _, salt := range [][]byte{nil, {7}, []byte("some salt, thirty-two bytes long"), make([]byte, 256)} {
		for _, blocks := range []int{1, 2, 128, 129, 128*128 + 1} {
			t.Run(fmt.Sprintf("salt %d, blocks %d", len(salt), blocks), func(t *testing.T) {
				judge(t, pattern(blocks), salt)
			})
		}
	}
}

func judge(t *testing.T, data, salt []byte) {
	dir := t.TempDir()
	dataPath := filepath.Join(dir, "data")
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	saltArg := hex.EncodeToString(salt)
	if len(salt) == 0 {
		saltArg = "-"
	}
	// A single block's hash area is the superblock, and veritysetup leaves the
	// rest of its block out.
	format := toolstest.Command(t, "veritysetup", "format", "--hash=sha256", "--data-block-size=4096",
		"--hash-block-size=4096", "--salt="+saltArg, "--uuid=01020304-0000-0000-0000-00000000000f",
		dataPath, theirs)
	require.NoError(t, os.WriteFile(dataPath, data, 0o600))
	output, err := format.CombinedOutput()
	require.NoError(t, err, "veritysetup format: %s", output)

	var hash disk
	r, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), &hash, 0,
		&verity.Options{Salt: salt, UUID: [16]byte{1, 2, 3, 4, 15: 15}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ours, hash.b, 0o600))
	root := hex.EncodeToString(r.RootHash[:])
	assert.Contains(t, string(output), root)
	want, err := os.ReadFile(theirs)
	require.NoError(t, err)
	want = append(want, make([]byte, -len(want)&(verity.BlockSize-1))...)
	assert.True(t, bytes.Equal(want, hash.b), "veritysetup wrote other bytes")

	output, err = toolstest.Command(t, "veritysetup", "verify", dataPath, ours, root).CombinedOutput()
	require.NoError(t, err, "veritysetup verify: %s", output)
}
