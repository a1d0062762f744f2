package blockdev_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
)

var _ partitions.Device = (*blockdev.File)(nil)

// directPath is a place for a file that can be read past the page cache: where
// the directory for temporary files is in memory, /var/tmp is on a disk.
func directPath(t *testing.T) string {
	t.Helper()
	for _, parent := range []string{os.TempDir(), "/var/tmp"} {
		dir, err := os.MkdirTemp(parent, "slipway-blockdev-")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "disk")
		require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
		f, direct, err := blockdev.OpenDirect(path, os.O_RDWR, 512)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		if direct {
			return path
		}
	}
	t.Fatalf("neither %s nor /var/tmp has direct access: name a directory that has in TMPDIR", os.TempDir())
	return ""
}

// Whatever is read and written, aligned or not, is what a plain file does.
func TestLikeAPlainFile(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		path := directPath(t)
		want := make([]byte, 3<<20)
		rng := rand.New(rand.NewPCG(uint64(sector), 0))
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		require.NoError(t, os.WriteFile(path, want, 0o600))
		f, direct, err := blockdev.OpenDirect(path, os.O_RDWR, sector)
		require.NoError(t, err)
		require.True(t, direct)
		for range 200 {
			n := rng.IntN(20_000)
			if rng.IntN(10) == 0 {
				n = rng.IntN(2 << 20)
			}
			off := rng.IntN(len(want) - n)
			if rng.IntN(2) == 0 {
				off = off / int(sector) * int(sector)
				n = n / int(sector) * int(sector)
			}
			p := make([]byte, n)
			got, err := f.ReadAt(p, int64(off))
			require.NoError(t, err)
			require.Equal(t, n, got)
			require.Equal(t, want[off:off+n], p)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			got, err = f.WriteAt(p, int64(off))
			require.NoError(t, err)
			require.Equal(t, n, got)
			copy(want[off:], p)
		}
		require.NoError(t, f.Sync())
		p := make([]byte, 1000)
		n, err := f.ReadAt(p, int64(len(want))-10)
		assert.Equal(t, 10, n)
		assert.Equal(t, io.EOF, err)
		_, err = f.ReadAt(p, int64(len(want))+5000)
		assert.Equal(t, io.EOF, err)
		p = make([]byte, 1<<20) // taken as it is, but for the end
		n, err = f.ReadAt(p, int64(len(want))-8192)
		assert.Equal(t, 8192, n)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, want[len(want)-8192:], p[:n])
		require.NoError(t, f.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, []byte("an image file"), 0o600))
	f, err := blockdev.Open(path, os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("THE"), 0)
	require.NoError(t, err)
	p := make([]byte, 9)
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	assert.Equal(t, "THEimage ", string(p))
	require.NoError(t, f.Close())

	_, err = blockdev.Open(path+"x", os.O_RDONLY)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestPartition(t *testing.T) {
	for disk, want := range map[string]string{"vda": "vda3", "nvme0n1": "nvme0n1p3", "mmcblk0": "mmcblk0p3", "sdaa": "sdaa3"} {
		assert.Equal(t, want, blockdev.Partition(disk, 3))
	}
}
