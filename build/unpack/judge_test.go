package unpack_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/build/tree"
	"slipway/build/unpack"
)

// TestAgainstDpkg unpacks real packages and compares paths, types, modes,
// owners, link targets and digests with what dpkg-deb makes of them.
func TestAgainstDpkg(t *testing.T) {
	for _, c := range []struct{ group, name string }{
		{"build", "grub-common"}, {"build", "libc6"}, {"build", "systemd"}, {"build", "udev"},
		{"run", "libpam-modules-bin"}, {"run", "passwd"}, // setuid and setgid
	} {
		t.Run(c.name, func(t *testing.T) {
			deb := toolstest.Deb(t, c.group, c.name)
			p, err := openCache(t, t.TempDir()).Package(t.Context(), fileRequest(t, deb))
			require.NoError(t, err)
			var got []string
			for path, n := range p.Tree.All() {
				line := fmt.Sprintf("%s %s %04o %d/%d", path, n.Type, n.Mode, n.UID, n.GID)
				switch n.Type {
				case tree.File:
					line += fmt.Sprintf(" %x", n.Blob.SHA256())
				case tree.Symlink:
					line += " " + n.Target
				}
				got = append(got, line)
			}
			want := dpkgList(t, deb.Name())
			for i := range min(len(want), len(got)) {
				require.Equal(t, want[i], got[i])
			}
			assert.Len(t, got, len(want))
		})
	}
}

// dpkgList has dpkg-deb unpack a package and lists the result. Owners come
// from its listing, because only root can give files away.
func dpkgList(t *testing.T, deb string) []string {
	dir := t.TempDir()
	out, err := toolstest.Command(t, "dpkg-deb", "--extract", deb, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	files, err := toolstest.Command(t, "dpkg-deb", "--fsys-tarfile", deb).Output()
	require.NoError(t, err)
	list := toolstest.Command(t, "tar", "--list", "--verbose", "--numeric-owner",
		"--quoting-style=literal")
	list.Stdin = bytes.NewReader(files)
	out, err = list.Output()
	require.NoError(t, err)
	owners := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		owners[filepath.Clean(f[5])] = f[1]
	}

	var lines []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		lines = append(lines, fmt.Sprintf("%s %s %s", rel, hostFile(t, path, info), owners[rel]))
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			lines[len(lines)-1] += fmt.Sprintf(" %x", sha256.Sum256(content))
		} else if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			require.NoError(t, err)
			lines[len(lines)-1] += " " + target
		}
		return nil
	}))
	slices.SortFunc(lines, func(a, b string) int {
		return strings.Compare(strings.Split(a, " ")[0], strings.Split(b, " ")[0])
	})
	return lines
}

// hostFile gives type and mode of a file.
func hostFile(t *testing.T, path string, info fs.FileInfo) string {
	kind := map[fs.FileMode]tree.Type{0: tree.File, fs.ModeDir: tree.Dir, fs.ModeSymlink: tree.Symlink}
	k, ok := kind[info.Mode().Type()]
	require.True(t, ok, path)
	return fmt.Sprintf("%s %04o", k, info.Sys().(*syscall.Stat_t).Mode&0o7777)
}

// fileRequest asks for the package in a file.
func fileRequest(t testing.TB, f *os.File) unpack.Request {
	t.Helper()
	_, err := f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	require.NoError(t, err)
	return unpack.Request{
		SHA256: [32]byte(hash.Sum(nil)), Size: size,
		Open: func() (io.ReadCloser, error) { return os.Open(f.Name()) },
	}
}

// The same real packages, unpacked by us and by dpkg-deb, for a ratio of
// CPU times: go test -bench Unpack ./build/unpack
func benchmarkPackages(b *testing.B) []*os.File {
	var files []*os.File
	for _, name := range []string{"grub-common", "libc6", "libssl3t64", "systemd", "udev"} {
		files = append(files, toolstest.Deb(b, "build", name))
	}
	return files
}

func BenchmarkUnpack(b *testing.B) {
	var requests []unpack.Request
	for _, f := range benchmarkPackages(b) {
		requests = append(requests, fileRequest(b, f))
	}
	before := usage(b, syscall.RUSAGE_SELF)
	for b.Loop() {
		cache, err := unpack.Open(b.TempDir())
		require.NoError(b, err)
		_, err = cache.All(b.Context(), requests, nil)
		require.NoError(b, err)
		require.NoError(b, cache.Close())
	}
	b.ReportMetric((usage(b, syscall.RUSAGE_SELF)-before)/float64(b.N), "cpu-s/op")
}

func BenchmarkUnpackByDpkg(b *testing.B) {
	files := benchmarkPackages(b)
	before := usage(b, syscall.RUSAGE_CHILDREN)
	for b.Loop() {
		dir := b.TempDir()
		for _, f := range files {
			out, err := toolstest.Command(b, "dpkg-deb", "--extract", f.Name(), dir).CombinedOutput()
			require.NoError(b, err, "%s", out)
		}
	}
	b.ReportMetric((usage(b, syscall.RUSAGE_CHILDREN)-before)/float64(b.N), "cpu-s/op")
}

// usage is the CPU time used so far, in seconds.
func usage(b *testing.B, who int) float64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(who, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkLoad reads packages that are in the cache.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	var requests []unpack.Request
	for _, f := range benchmarkPackages(b) {
		requests = append(requests, fileRequest(b, f))
	}
	load := func() {
		cache, err := unpack.Open(dir)
		require.NoError(b, err)
		_, err = cache.All(b.Context(), requests, nil)
		require.NoError(b, err)
		require.NoError(b, cache.Close())
	}
	load() // and unpack
	for b.Loop() {
		load()
	}
}
