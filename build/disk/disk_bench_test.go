package disk_test

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/disk"
)

// BenchmarkWrite writes a disk with a slot image of 1 GiB of which 450 MB are
// data, just written, as in a build.
func BenchmarkWrite(b *testing.B) {
	slot := newFile(b)
	require.NoError(b, slot.Truncate(1<<30))
	block := make([]byte, 1<<20)
	for i := range int64(450) {
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], uint64(i))
		sum := sha256.Sum256(seed[:])
		for at := 0; at < len(block); at += len(sum) {
			copy(block[at:], sum[:])
		}
		_, err := slot.WriteAt(block, i<<20)
		require.NoError(b, err)
	}
	for b.Loop() {
		f, err := os.Create(filepath.Join(b.TempDir(), "disk.img"))
		require.NoError(b, err)
		require.NoError(b, disk.Write(b.Context(), f, &disk.Options{
			Layout: layout(), GRUB: grub(),
			Contents: map[string]disk.Content{"USR-A": {Data: slot, Size: 1 << 30}},
		}))
		require.NoError(b, f.Close())
		require.NoError(b, os.Remove(f.Name()))
	}
}
