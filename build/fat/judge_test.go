package fat_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
	"slipway/qemu-tests/powercut"
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

// harmless is what fsck.vfat may say of a file system whose file was being
// replaced when the power failed: clusters that belong to nothing, FATs of
// which the second is a step behind, and a count that is off.
func harmless() *regexp.Regexp {
	return regexp.MustCompile(`^(fsck\.fat .*|/.*: \d+ files, \d+/\d+ clusters|` +
		`Free cluster summary wrong \(\d+ vs\. really \d+\)|` +
		`Reclaimed \d+ unused clusters? \(\d+ bytes\)( in \d+ chains?)?\.?|Reclaiming unconnected clusters\.|` +
		`FATs differ but appear to be intact\.|` +
		` *(Auto-correcting|Using first FAT|Use first FAT|Auto-setting)\.|` +
		`Leaving filesystem unchanged\.|)$`)
}

// fsck.vfat finds nothing worse than that in what a power cut leaves, and
// nothing at all once the replacement ran again; mtools reads the file.
func TestJudgeReplacePowerCut(t *testing.T) {
	old, new := noise(60_000), noise(90_000)
	rec := powercut.Record(esp(t, old))
	_, err := fat.Replace(rec, testSize, replacement(new))
	require.NoError(t, err)
	says, asked, n := harmless(), 0, 0
	for s := range rec.States(powercut.Options{Seed: 4, Random: 4}) {
		if n++; n%12 != 0 {
			continue
		}
		asked++
		path := dump(t, s.Disk)
		output, err := toolstest.Command(t, "fsck.vfat", "-n", path).CombinedOutput()
		if err != nil {
			assert.EqualError(t, err, "exit status 1", "%s: %s", s, output)
		}
		for _, line := range strings.Split(string(output), "\n") {
			require.Regexp(t, says, line, "%s:\n%s", s, output)
		}
		again := s.Clone()
		_, err = fat.Replace(again, testSize, replacement(new))
		require.NoError(t, err)
		path = dump(t, again)
		output, err = toolstest.Command(t, "fsck.vfat", "-n", path).CombinedOutput()
		require.NoError(t, err, "%s: %s", s, output)
		require.Len(t, strings.Split(strings.TrimSpace(string(output)), "\n"), 2, "%s", output)
		content, err := toolstest.Command(t, "mtype", "-i", path, "::/"+bootPath).Output()
		require.NoError(t, err)
		require.Equal(t, new, string(content))
	}
	t.Logf("asked about %d of %d states", asked, n)
	assert.Greater(t, asked, 30)
}

// dump puts a disk into a file.
func dump(t *testing.T, d *powercut.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(d.Size()))
	b := make([]byte, 64<<10)
	zero := make([]byte, len(b))
	for at := int64(0); at < d.Size(); at += int64(len(b)) {
		_, err := d.ReadAt(b, at)
		require.NoError(t, err)
		if string(b) != string(zero) {
			_, err = f.WriteAt(b, at)
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Close())
	return path
}
