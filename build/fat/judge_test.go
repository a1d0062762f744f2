package fat_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// image writes a tree to a sparse file.
func image(t *testing.T, size int64, tr *tree.Tree) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(size))
	require.NoError(t, fat.Write(f, size, tr, options()))
	return f.Name()
}

// fsck.vfat finds nothing to say about any size, among them those at which
// other writers make the FAT too small.
func TestJudgeFsck(t *testing.T) {
	for _, size := range []int64{36 << 20, 64 << 20, 128 << 20, 129 << 20, 260 << 20, 4 << 30, 40 << 30} {
		path := image(t, size, everything(t))
		output, err := toolstest.Command(t, "fsck.vfat", "-n", path).CombinedOutput()
		require.NoError(t, err, "fsck.vfat of %d bytes: %s", size, output)
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		assert.Len(t, lines, 2, "version and summary only: %s", output)
	}
}

// mtools finds the files and their contents.
func TestJudgeMtools(t *testing.T) {
	tr := everything(t)
	path := image(t, 128<<20, tr)
	output, err := toolstest.Command(t, "mdir", "-/", "-b", "-i", path, "::").CombinedOutput()
	require.NoError(t, err, "mdir: %s", output)
	for p, n := range tr.All() {
		if strings.Trim(p, ".abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+=-~ ") != "" {
			continue // in the character set of whoever runs mtools
		}
		if n.Type == tree.File {
			assert.Contains(t, string(output), "::/"+p+"\n")
		}
	}
	for _, p := range []string{"EFI/BOOT/BOOTX64.EFI", "loader/b=c", "exactly8.txt", "EFI/empty"} {
		content, err := toolstest.Command(t, "mtype", "-i", path, "::/"+p).Output()
		require.NoError(t, err, p)
		want, err := tree.ReadAll(tr.Lookup(p).Blob)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(content), p)
	}
}

// Open reads what mkfs.vfat and mcopy write.
func TestJudgeMkfs(t *testing.T) {
	dir := t.TempDir()
	path, src := filepath.Join(dir, "image"), filepath.Join(dir, "src")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(64<<20))
	want := map[string]string{
		"EFI/BOOT/BOOTX64.EFI": noise(3 << 20), "EFI/empty": "", "grub.cfg": "lower case",
		"a long name.conf": noise(5000), "d/e/f/g": "deep",
	}
	for p, content := range want {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(src, p)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(src, p), []byte(content), 0o644))
	}
	output, err := toolstest.Command(t, "mkfs.vfat", "-F", "32", path).CombinedOutput()
	require.NoError(t, err, "mkfs.vfat: %s", output)
	args := []string{"-s", "-i", path}
	for _, name := range []string{"EFI", "grub.cfg", "a long name.conf", "d"} {
		args = append(args, filepath.Join(src, name))
	}
	output, err = toolstest.Command(t, "mcopy", append(args, "::")...).CombinedOutput()
	require.NoError(t, err, "mcopy: %s", output)

	tr, err := fat.Open(f, 64<<20)
	require.NoError(t, err)
	for p, content := range want {
		n := tr.Lookup(p)
		require.NotNil(t, n, "%s in %v", p, tr.Paths())
		got, err := tree.ReadAll(n.Blob)
		require.NoError(t, err)
		assert.Equal(t, content, string(got), p)
	}
	require.NoError(t, f.Close())
}
