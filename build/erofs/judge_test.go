package erofs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// fsck.erofs accepts the image and extracts from it what went in.
func TestJudgeFsck(t *testing.T) {
	dir := t.TempDir()
	image, out := filepath.Join(dir, "image"), filepath.Join(dir, "out")
	fsck := toolstest.Command(t, "fsck.erofs", "--extract="+out, "--no-preserve", image)
	tr := everything(t)
	for _, p := range []string{"dev", "run"} { // making devices needs root
		tr.Remove(p)
	}
	tr.Remove("xattr/dev")
	tr.Remove("nul\xff\xfe")
	require.NoError(t, os.WriteFile(image, write(t, tr, options()), 0o600))
	output, err := fsck.CombinedOutput()
	require.NoError(t, err, "fsck.erofs: %s", output)
	for p, n := range tr.All() {
		at := filepath.Join(out, p)
		info, err := os.Lstat(at)
		require.NoError(t, err)
		switch n.Type {
		case tree.Dir:
			assert.True(t, info.IsDir(), p)
		case tree.Symlink:
			target, err := os.Readlink(at)
			require.NoError(t, err)
			assert.Equal(t, n.Target, target, p)
		case tree.File:
			got, err := os.ReadFile(at)
			require.NoError(t, err)
			want, err := tree.ReadAll(n.Blob)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), p)
		}
	}
}

// dump.erofs reads the superblock as we wrote it.
func TestJudgeDump(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	dump := toolstest.Command(t, "dump.erofs", "-s", image)
	require.NoError(t, os.WriteFile(image, write(t, everything(t), options()), 0o600))
	output, err := dump.CombinedOutput()
	require.NoError(t, err, "dump.erofs: %s", output)
	assert.Contains(t, string(output), "01020300-0000-0000-0000-000000000010")
	assert.Contains(t, string(output), "sb_csum mtime")
}

// Open reads what mkfs.erofs writes, tail packing and all.
func TestJudgeMkfs(t *testing.T) {
	dir := t.TempDir()
	image, src := filepath.Join(dir, "image"), filepath.Join(dir, "src")
	mkfs := toolstest.Command(t, "mkfs.erofs", "-T", "1700000000", "-x", "-1",
		"-U", "01020300-0000-0000-0000-000000000010", image, src)
	want := map[string]string{}
	put := func(p, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(src, p)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(src, p), []byte(content), 0o644))
		want[p] = content
	}
	for _, size := range []int{0, 1, 100, 4000, 4095, 4096, 4097, 5000, 8192, 12000, 1<<20 + 3} {
		put(strings.Repeat("x", size%97+1)+"/"+noiseName(size%600), noise(size))
	}
	for i := range 900 {
		put("many/some longer name for an entry "+noiseName(i), noiseName(i))
	}
	require.NoError(t, os.Symlink("many/target", filepath.Join(src, "link")))
	require.NoError(t, os.Link(filepath.Join(src, "many/some longer name for an entry "+noiseName(3)),
		filepath.Join(src, "hard")))
	want["hard"] = noiseName(3)
	output, err := mkfs.CombinedOutput()
	require.NoError(t, err, "mkfs.erofs: %s", output)

	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	tr, err := erofs.Open(f, info.Size())
	require.NoError(t, err)
	for p, content := range want {
		n := tr.Lookup(p)
		require.NotNil(t, n, p)
		got, err := tree.ReadAll(n.Blob)
		require.NoError(t, err, p)
		require.Equal(t, content, string(got), p)
	}
	assert.Equal(t, "many/target", tr.Lookup("link").Target)
	assert.Same(t, tr.Lookup("hard"), tr.Lookup("many/some longer name for an entry "+noiseName(3)))
	count := 0
	require.NoError(t, filepath.WalkDir(src, func(string, fs.DirEntry, error) error {
		count++
		return nil
	}))
	assert.Equal(t, count, tr.Len())
}
