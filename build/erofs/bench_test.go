package erofs_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// stored is a blob in a file of the host.
type stored struct {
	path string
	size int64
	sum  [32]byte
}

func (s stored) Size() int64                  { return s.size }
func (s stored) SHA256() [32]byte             { return s.sum }
func (s stored) Open() (io.ReadCloser, error) { return os.Open(s.path) }

// hostFiles makes 5000 files of 190 MB in all, sized as those of a /usr are:
// half are below 4 KiB, a few hold most of the bytes.
func hostFiles(b *testing.B, dir string) (*tree.Tree, int64) {
	tr, total := tree.New(), int64(0)
	tr.Lookup(".").MTime = buildTime
	content := []byte(noise(1 << 23))
	for i := range 5000 {
		size := 64 << (i % 12)
		if i%200 == 199 {
			size = 4 << 20
		}
		size += i
		p := fmt.Sprintf("d%d/e%d/file %d", i%40, i%400, i)
		at := filepath.Join(dir, p)
		require.NoError(b, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(b, os.WriteFile(at, content[i:i+size], 0o644))
		n := &tree.Node{Type: tree.File, Mode: 0o644, MTime: buildTime}
		n.Blob = stored{at, int64(size), [32]byte{byte(i), byte(i >> 8)}}
		require.NoError(b, tr.Set(p, n))
		total += int64(size)
	}
	return tr, total
}

// BenchmarkWrite makes the same image, and for comparison lets mkfs.erofs make
// one and cp copy the files.
func BenchmarkWrite(b *testing.B) {
	src, image := b.TempDir(), filepath.Join(b.TempDir(), "image")
	tr, total := hostFiles(b, src)
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(total)
			for b.Loop() {
				f, err := os.Create(image)
				require.NoError(b, err)
				opts := options()
				opts.Workers = workers
				_, err = erofs.Write(b.Context(), f, tr, opts)
				require.NoError(b, err)
				require.NoError(b, f.Close())
				require.NoError(b, os.Remove(image))
			}
		})
	}
	b.Run("mkfs.erofs", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			output, err := toolstest.Command(b, "mkfs.erofs", "-T", fmt.Sprint(buildTime), "-x", "-1",
				image, src).CombinedOutput()
			require.NoError(b, err, "mkfs.erofs: %s", output)
			require.NoError(b, os.Remove(image))
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	tr, _ := hostFiles(b, b.TempDir())
	f, err := os.Create(filepath.Join(b.TempDir(), "image"))
	require.NoError(b, err)
	defer f.Close()
	size, err := erofs.Write(b.Context(), f, tr, options())
	require.NoError(b, err)
	for b.Loop() {
		_, err := erofs.Open(f, size)
		require.NoError(b, err)
	}
}
