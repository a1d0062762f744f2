package xz_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb"
	"slipway/build/deb/xz"
	"slipway/build/tools/toolstest"
)

// TestAgainstXZ reads what the xz program writes, in all the ways that
// packages may be packed.
func TestAgainstXZ(t *testing.T) {
	data := mixed(5 << 20)
	for _, args := range [][]string{
		{"-0"}, {"-6"}, {"-6e"}, {"-9", "--threads=1"}, {"--threads=2", "--block-size=700000"},
		{"--check=none"}, {"--check=crc32"}, {"--check=sha256"},
		{"--lzma2=dict=4KiB"}, {"--lzma2=dict=96KiB,lc=0,lp=3,pb=1"}, {"--lzma2=lc=4,pb=0"},
	} {
		cmd := toolstest.Command(t, "xz", append([]string{"--stdout"}, args...)...)
		cmd.Stdin = bytes.NewReader(data)
		file, err := cmd.Output()
		require.NoError(t, err)
		assert.True(t, xz.Supported(file[:1036]))
		got, err := decode(file)
		require.NoError(t, err, args)
		assert.True(t, bytes.Equal(data, got), args)
	}

	cmd := toolstest.Command(t, "xz", "--stdout", "--x86", "--lzma2")
	cmd.Stdin = bytes.NewReader(data)
	file, err := cmd.Output()
	require.NoError(t, err)
	assert.False(t, xz.Supported(file))
	_, err = decode(file)
	assert.Equal(t, xz.ErrFilter, err)
	r, err := deb.XZ(bytes.NewReader(file))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got), "the slower way")
}
