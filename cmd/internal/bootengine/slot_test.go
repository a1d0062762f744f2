package bootengine_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/verity"
	"slipway/cmd/internal/bootengine"
	"slipway/signing/footer"
)

func TestVerify(t *testing.T) {
	const size = 300 * 4096
	f, err := os.Create(filepath.Join(t.TempDir(), "slot"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(strings.Repeat("slipway!", size/8)), 0)
	require.NoError(t, err)
	r, err := verity.Format(context.Background(), f, size, f, size, &verity.Options{Salt: []byte{1, 2}})
	require.NoError(t, err)
	ft := &footer.Footer{
		FSSize: size, HashOffset: size, HashSize: r.HashSize, BlockSize: 4096,
		Salt: "0102", RootHash: hex.EncodeToString(r.RootHash[:]),
	}
	assert.NoError(t, bootengine.Verify(f, f, ft, "full"))
	assert.NoError(t, bootengine.Verify(f, f, ft, "lazy"))

	flip := func(off int64) {
		b := make([]byte, 1)
		_, err := f.ReadAt(b, off)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 1}, off)
		require.NoError(t, err)
	}
	flip(123 * 4096)
	assert.EqualError(t, bootengine.Verify(f, f, ft, "full"), "verity: data block 123 is corrupt")
	assert.NoError(t, bootengine.Verify(f, f, ft, "lazy"), "the kernel finds it when it is read")
	flip(123 * 4096)
	flip(size + 4096 + 8)
	for _, how := range []string{"full", "lazy"} {
		assert.EqualError(t, bootengine.Verify(f, f, ft, how), "verity: tree level 1, block 0 is corrupt")
	}
}

func TestVerityTarget(t *testing.T) {
	ft := &footer.Footer{FSSize: 300 * 4096, HashOffset: 400 * 4096, BlockSize: 4096, RootHash: "ab"}
	const dev = 254<<8 | 3
	want := bootengine.NewTarget("verity", 2400, "1 254:3 254:3 4096 4096 300 401 sha256 ab -")
	assert.Equal(t, want, bootengine.VerityTarget(dev, ft, ""))
	ft.Salt = "00ff"
	want = bootengine.NewTarget("verity", 2400, "1 254:3 254:3 4096 4096 300 401 sha256 ab 00ff 1 panic_on_corruption")
	assert.Equal(t, want, bootengine.VerityTarget(dev, ft, "panic_on_corruption"))
}

func TestDMTable(t *testing.T) {
	b, err := bootengine.DMTable("usr", bootengine.NewTarget("verity", 0x1234, "PARAMS"))
	require.NoError(t, err)
	require.Len(t, b, 4096)
	assert.Equal(t, "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+ // version 4.0.0
		"\x00\x10\x00\x00\x38\x01\x00\x00\x01\x00\x00\x00"+ // buffer, header, one target
		"\x00\x00\x00\x00\x01\x00\x00\x00", string(b[:32])) // not open, read-only
	assert.Equal(t, "usr\x00", string(b[48:52]))
	assert.Equal(t, "\x00\x00\x00\x00\x00\x00\x00\x00\x34\x12\x00\x00\x00\x00\x00\x00", string(b[312:328]))
	assert.Equal(t, "verity\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00PARAMS\x00", string(b[336:359]))

	_, err = bootengine.DMTable("usr", bootengine.NewTarget("verity", 1, strings.Repeat("x", 4096)))
	assert.EqualError(t, err, "table of usr is too long")
	assert.Equal(t, uint64(0x12345), bootengine.DeviceMinor(0x12300045|254<<8))
}
