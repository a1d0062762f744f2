package fat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/qemu-tests/powercut"
)

const bootPath = "EFI/BOOT/BOOTX64.EFI"

// esp is a file system as an EFI system partition has it, with a file in the
// way so that free clusters have gaps.
func esp(t testing.TB, boot string) *powercut.Disk {
	return powercut.Over(write(t, testSize, newTree(t, map[string]string{
		bootPath: boot, "EFI/BOOT/fallback.efi": noise(3000), "loader/loader.conf": "timeout 0\n",
	})), testSize)
}

func replacement(content string) fat.Replacement {
	return fat.Replacement{Path: bootPath, Content: strings.NewReader(content), Size: int64(len(content))}
}

func contents(t testing.TB, r io.ReaderAt) map[string]string {
	t.Helper()
	tr, err := fat.Open(r, testSize)
	require.NoError(t, err)
	got := map[string]string{}
	for p, n := range tr.All() {
		if n.Type == tree.File {
			b, err := tree.ReadAll(n.Blob)
			require.NoError(t, err)
			got[p] = string(b)
		}
	}
	return got
}

// table reads both FATs of a file system and the free space information.
func table(t testing.TB, r io.ReaderAt) (fats [2][]byte, free, next uint32) {
	t.Helper()
	b := make([]byte, 1024)
	_, err := r.ReadAt(b, 0)
	require.NoError(t, err)
	le := binary.LittleEndian
	reserved, size := int64(le.Uint16(b[14:]))*512, int64(le.Uint32(b[36:]))*512
	for i := range fats {
		fats[i] = make([]byte, size)
		_, err := r.ReadAt(fats[i], reserved+int64(i)*size)
		require.NoError(t, err)
	}
	return fats, le.Uint32(b[512+488:]), le.Uint32(b[512+492:])
}

// sound asserts that nothing is left to mend: equal FATs, as many clusters in
// use as the files and this many of directories need, and a true count.
func sound(t testing.TB, r io.ReaderAt, directories int) {
	t.Helper()
	fats, free, next := table(t, r)
	require.True(t, bytes.Equal(fats[0], fats[1]), "FATs differ")
	want := directories
	for _, content := range contents(t, r) {
		want += (len(content) + 511) / 512
	}
	const clusters = 41271296 / 512
	used, lowest := 0, uint32(0)
	for c := uint32(2); c < clusters+2; c++ {
		if binary.LittleEndian.Uint32(fats[0][c*4:]) != 0 {
			used++
		} else if lowest == 0 {
			lowest = c
		}
	}
	require.Equal(t, want, used, "clusters in use")
	require.EqualValues(t, clusters-used, free, "count of free clusters")
	require.Equal(t, lowest, next, "next free cluster")
}

func TestReplace(t *testing.T) {
	for _, c := range []struct{ old, new int }{
		{20_000, 20_000}, {20_000, 19_999}, {20_000, 100_000}, {100_000, 1}, {512, 513},
		{0, 5000}, {5000, 0}, {3 << 20, 2 << 20}, {100_000, 512 * 40},
	} {
		t.Run(fmt.Sprintf("%d-to-%d", c.old, c.new), func(t *testing.T) {
			d := esp(t, noise(c.old))
			want := contents(t, d)
			want[bootPath] = noise(c.new + 1)[1:]
			changed, err := fat.Replace(d, testSize, replacement(want[bootPath]))
			require.NoError(t, err)
			assert.True(t, changed)
			assert.Equal(t, want, contents(t, d))
			sound(t, d, 4)

			rec := powercut.Record(d)
			changed, err = fat.Replace(rec, testSize, replacement(want[bootPath]))
			require.NoError(t, err)
			assert.False(t, changed)
			assert.Empty(t, rec.Operations(), "what is there already")
		})
	}
}

func TestReplaceFindsItInAnyCase(t *testing.T) {
	d := esp(t, "old")
	r := replacement("new")
	r.Path = "efi/Boot/bootx64.efi"
	_, err := fat.Replace(d, testSize, r)
	require.NoError(t, err)
	assert.Equal(t, "new", contents(t, d)[bootPath])
}

// The clusters of the two contents do not meet, and those of the third are
// where the first was: equal steps give equal bytes.
func TestReplaceAlternates(t *testing.T) {
	d := esp(t, noise(20_000))
	before, _, _ := table(t, d)
	for range 2 {
		for _, content := range []string{noise(20_004), noise(20_000)} {
			_, err := fat.Replace(d, testSize, replacement(content))
			require.NoError(t, err)
		}
	}
	after, _, _ := table(t, d)
	assert.True(t, bytes.Equal(before[0], after[0]))
}

// A content larger than every gap is put into several.
func TestReplaceFragmented(t *testing.T) {
	files := map[string]string{bootPath: "old"}
	for i := range 60 {
		files[fmt.Sprintf("pad/%02d", i)] = noise(600_000 + i)
	}
	d := powercut.Over(write(t, testSize, newTree(t, files)), testSize)
	for i := 0; i < 60; i += 2 {
		p := fmt.Sprintf("pad/%02d", i)
		files[p] = ""
		_, err := fat.Replace(d, testSize, fat.Replacement{Path: p, Content: strings.NewReader("")})
		require.NoError(t, err)
	}
	files[bootPath] = noise(20 << 20)
	_, err := fat.Replace(d, testSize, replacement(files[bootPath]))
	require.NoError(t, err)
	assert.Equal(t, files, contents(t, d))

	_, err = fat.Replace(d, testSize, replacement(noise(30<<20)))
	assert.EqualError(t, err, "fat: replace /EFI/BOOT/BOOTX64.EFI: no room: "+
		"content needs 31457280 bytes, 2294272 are free: 29163008 bytes too many")
	assert.Equal(t, files, contents(t, d))
}

func TestReplaceErrors(t *testing.T) {
	put := func(d io.WriterAt, off int64, b ...byte) {
		_, err := d.WriteAt(b, off)
		require.NoError(t, err)
	}
	for _, c := range []struct {
		name   string
		change func(d *powercut.Disk, fat int64, r *fat.Replacement)
		want   string
		is     error
	}{
		{"no file", func(_ *powercut.Disk, _ int64, r *fat.Replacement) { r.Path = "EFI/BOOT/BOOTAA64.EFI" },
			"fat: replace /EFI/BOOT/BOOTAA64.EFI: file does not exist", fs.ErrNotExist},
		{"directory", func(_ *powercut.Disk, _ int64, r *fat.Replacement) { r.Path = "EFI/BOOT" },
			"fat: replace /EFI/BOOT: is a directory", nil},
		{"too large", func(_ *powercut.Disk, _ int64, r *fat.Replacement) { r.Size = 1 << 32 },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: content of 4294967296 bytes, limit 4294967295", nil},
		{"no room", func(_ *powercut.Disk, _ int64, r *fat.Replacement) { r.Size = 41 << 20 },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: no room: content needs 42991616 bytes, " +
				"41261568 are free: 1730048 bytes too many", nil},
		{"short content", func(_ *powercut.Disk, _ int64, r *fat.Replacement) { r.Size = 6000 },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: content is 5000 bytes, should be 6000", nil},
		{"not FAT", func(d *powercut.Disk, _ int64, _ *fat.Replacement) { put(d, 510, 0, 0) },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: boot sector: signature is 0x0000, should be 0x55aa", nil},
		{"FAT16", func(d *powercut.Disk, _ int64, _ *fat.Replacement) { put(d, 22, 1) },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: boot sector: file system is FAT12 or FAT16, not FAT32", nil},
		{"one FAT in use", func(d *powercut.Disk, _ int64, _ *fat.Replacement) { put(d, 40, 0x81) },
			"fat: replace /EFI/BOOT/BOOTX64.EFI: boot sector: only one FAT is in use", nil},
		{"damaged chain elsewhere", func(d *powercut.Disk, fat int64, _ *fat.Replacement) {
			put(d, fat+20*4, 0xFF, 0xFF, 0xFF, 0)
		}, `fat: replace /EFI/BOOT/BOOTX64.EFI: /loader: directory entry "loader.conf": cluster 16777215 does not exist`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := esp(t, noise(4000))
			start, _ := place(t, d)
			r := replacement(noise(5000))
			c.change(d, start, &r)
			rec := powercut.Record(d)
			changed, err := fat.Replace(rec, testSize, r)
			assert.EqualError(t, err, c.want)
			assert.False(t, changed)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
			if c.name != "short content" {
				assert.Empty(t, rec.Operations(), "written")
			}
		})
	}
}

// Every image that a power cut can leave holds the old file or the new one,
// and a run on it ends with nothing left to mend.
func TestReplacePowerCut(t *testing.T) {
	seen := map[[16]byte]bool{}
	states, converged := 0, 0
	for _, c := range []struct{ old, new string }{
		{noise(20_000), noise(30_000)}, // other length
		{noise(9_000), strings.Repeat("n", 9_000)},
		{noise(400_000), noise(150_000)}, // several sectors of the FAT
	} {
		d := esp(t, c.old)
		want := contents(t, d)
		rec := powercut.Record(d)
		_, err := fat.Replace(rec, testSize, replacement(c.new))
		require.NoError(t, err)
		for s := range rec.States(powercut.Options{Seed: 1, Random: 32, Seen: seen}) {
			states++
			got := contents(t, s)
			if got[bootPath] != c.old {
				want[bootPath] = c.new
			} else {
				want[bootPath] = c.old
			}
			require.Equal(t, want, got, "%s", s)
			if states%8 != 0 {
				continue
			}
			converged++
			again := s.Clone()
			_, err := fat.Replace(again, testSize, replacement(c.new))
			require.NoError(t, err, "%s", s)
			want[bootPath] = c.new
			require.Equal(t, want, contents(t, again), "%s", s)
			sound(t, again, 4)
		}
	}
	t.Logf("%d states, %d of them run again", states, converged)
	assert.Greater(t, states, 1000)
}

// A run on what an interrupted run left may be interrupted too.
func TestReplacePowerCutTwice(t *testing.T) {
	d := esp(t, noise(3000))
	rec := powercut.Record(d)
	_, err := fat.Replace(rec, testSize, replacement(noise(4000)))
	require.NoError(t, err)
	seen := map[[16]byte]bool{}
	states := 0
	for first := range rec.States(powercut.Options{Seed: 2, Random: 2}) {
		rec := powercut.Record(first.Clone())
		_, err := fat.Replace(rec, testSize, replacement(noise(2000)))
		require.NoError(t, err, "%s", first)
		for second := range rec.States(powercut.Options{Seed: 3, Random: 2, Seen: seen}) {
			if states++; states%5 != 0 {
				continue
			}
			got := contents(t, second)[bootPath]
			if got != noise(3000) && got != noise(4000) && got != noise(2000) {
				t.Fatalf("%s, then %s: the file is neither", first, second)
			}
		}
	}
	t.Logf("%d states", states)
}

// failing is a disk whose writes or syncs fail from one of them on.
type failing struct {
	*powercut.Disk
	left int
}

var errBroken = errors.New("broken")

func (f *failing) WriteAt(b []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errBroken
	}
	return f.Disk.WriteAt(b, off)
}

func (f *failing) Sync() error {
	if f.left--; f.left < 0 {
		return errBroken
	}
	return nil
}

func TestReplaceOnBrokenDisk(t *testing.T) {
	old, new := noise(3000), noise(4000)
	for left := 0; ; left++ {
		d := esp(t, old)
		changed, err := fat.Replace(&failing{d, left}, testSize, replacement(new))
		got := contents(t, d)[bootPath]
		if err == nil {
			assert.Equal(t, new, got)
			assert.Equal(t, 12, left)
			return
		}
		require.EqualError(t, err, "fat: replace /EFI/BOOT/BOOTX64.EFI: broken")
		require.Equal(t, changed, left >= 7, "after %d operations", left)
		if changed {
			require.Equal(t, new, got)
		}
		_, err = fat.Replace(d, testSize, replacement(new))
		require.NoError(t, err)
		sound(t, d, 4)
	}
}

// A file system that others made odd: what Replace accepts it leaves sound.
func FuzzReplace(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{}, uint16(3000))
	f.Add([]byte{1}, []byte{0xF8, 0xFF, 0xFF, 0x0F}, []byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, head, entries, data []byte, size uint16) {
		d := esp(t, noise(2000))
		fatAt, cluster := place(t, d)
		for _, part := range []struct {
			b  []byte
			at int64
		}{{head[:min(len(head), 90)], 0}, {entries, fatAt}, {data, cluster(2)}} {
			if part.at+int64(len(part.b)) <= testSize {
				_, err := d.WriteAt(part.b, part.at)
				require.NoError(t, err)
			}
		}
		before, openErr := fat.Open(d, testSize)
		content := noise(int(size))
		rec := powercut.Record(d)
		if _, err := fat.Replace(rec, testSize, replacement(content)); err != nil {
			require.Empty(t, rec.Operations())
			return
		}
		require.NoError(t, openErr)
		after, err := fat.Open(rec, testSize)
		require.NoError(t, err)
		require.Equal(t, before.Paths(), after.Paths())
		for p, n := range after.All() {
			if n.Type != tree.File {
				continue
			}
			want := before.Lookup(p).Blob.SHA256()
			if strings.EqualFold(p, bootPath) {
				want = tree.Bytes([]byte(content)).SHA256()
			}
			require.Equal(t, want, n.Blob.SHA256(), p)
		}
	})
}

func BenchmarkReplace(b *testing.B) {
	d := powercut.Over(write(b, 128<<20, newTree(b, map[string]string{bootPath: noise(16 << 20)})), 128<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	content := []byte(noise(16 << 20))
	b.SetBytes(16 << 20)
	for b.Loop() {
		content[rng.IntN(len(content))]++
		_, err := fat.Replace(d, 128<<20, fat.Replacement{
			Path: bootPath, Content: bytes.NewReader(content), Size: 16 << 20})
		require.NoError(b, err)
	}
}
