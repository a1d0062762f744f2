package fat_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tree"
)

const (
	testTime = 1_700_000_000 // even, as FAT counts in two seconds
	testSize = 40 << 20
)

// disk is a sparse file in memory, by pages; it counts what is written.
type disk struct {
	pages   map[int64]*[page]byte
	size    int64
	written int64
}

const page = 4096

func newDisk(size int64) *disk { return &disk{pages: map[int64]*[page]byte{}, size: size} }

func (d *disk) each(b []byte, off int64, f func(p *int64, part []byte, at int64)) {
	for len(b) > 0 {
		n, at := off/page, off%page
		part := b[:min(int64(len(b)), page-at)]
		f(&n, part, at)
		b, off = b[len(part):], off+int64(len(part))
	}
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > d.size {
		return 0, fmt.Errorf("write beyond the end")
	}
	d.written += int64(len(b))
	d.each(b, off, func(n *int64, part []byte, at int64) {
		if d.pages[*n] == nil {
			d.pages[*n] = new([page]byte)
		}
		copy(d.pages[*n][at:], part)
	})
	return len(b), nil
}

func (d *disk) ReadAt(b []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	end := min(int64(len(b)), d.size-off)
	d.each(b[:end], off, func(n *int64, part []byte, at int64) {
		clear(part)
		if p := d.pages[*n]; p != nil {
			copy(part, p[at:])
		}
	})
	if end < int64(len(b)) {
		return int(end), io.EOF
	}
	return int(end), nil
}

func options() *fat.Options {
	return &fat.Options{Label: "EFI-SYSTEM", Serial: 0x1234ABCD, Time: testTime}
}

func write(t testing.TB, size int64, tr *tree.Tree) *disk {
	t.Helper()
	d := newDisk(size)
	require.NoError(t, fat.Write(d, size, tr, options()))
	return d
}

func newTree(t testing.TB, files map[string]string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for p, content := range files {
		require.NoError(t, tr.Set(p, &tree.Node{
			Type: tree.File, Mode: 0o644, MTime: testTime, Blob: tree.Bytes([]byte(content)),
		}))
	}
	return tr
}

// noise gives n bytes that do not repeat.
func noise(n int) string {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 4 {
		binary.LittleEndian.PutUint32(b[i:], uint32(i+n)*2654435761)
	}
	return string(b[:n])
}

// everything is a tree with all that is hard about FAT.
func everything(t testing.TB) *tree.Tree {
	files := map[string]string{
		"EFI/BOOT/BOOTX64.EFI":       noise(5 << 20),
		"EFI/BOOT/grubx64.efi":       noise(4096),
		"EFI/empty":                  "",
		"loader/entries/a.conf":      "one",
		"loader/entries/a.cont":      "two",
		"loader/entries/A~1.CON":     "looks like a short name",
		"loader/b+c":                 "three",
		"loader/b=c":                 "four",
		".x":                         "five",
		"..y":                        "six",
		"two  spaces.and.dots.txt":   noise(1023),
		"exactly8.txt":               noise(1024),
		"toolong89.txt":              noise(1025),
		"oem-release":                "ID=x\n",
		"Ünïcode näme 🐧.text":        noise(70_000),
		strings.Repeat("n", 255):     "longest",
		strings.Repeat("m", 13):      "one whole entry",
		strings.Repeat("m", 26):      "two whole entries",
		"a/b/c/d/e/f/g/h/i/j/k/deep": "deep",
	}
	for i := range 1200 {
		files[fmt.Sprintf("many/a long file name %d.conf", i)] = fmt.Sprint(i)
	}
	tr := newTree(t, files)
	require.NoError(t, tr.Set("emptydir", &tree.Node{Type: tree.Dir, Mode: 0o755, MTime: testTime}))
	return tr
}

// list writes down what FAT can keep of a tree.
func list(tr *tree.Tree) string {
	var b strings.Builder
	for p, n := range tr.All() {
		if p == "." {
			continue
		}
		fmt.Fprintf(&b, "%q %s @%d %d", p, n.Type, n.MTime, n.Size())
		if n.Type == tree.File {
			fmt.Fprintf(&b, " %x", n.Blob.SHA256())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	tr := everything(t)
	want := list(tr)
	for _, size := range []int64{testSize, 64 << 20, 128 << 20, 129 << 20, 4 << 30, 40 << 30} {
		t.Run(fmt.Sprint(size>>20, "MiB"), func(t *testing.T) {
			d := write(t, size, tr)
			got, err := fat.Open(d, size)
			require.NoError(t, err)
			require.Equal(t, want, list(got))
			assert.Less(t, d.written, int64(8<<20), "zeros are not written")
		})
	}
}

func TestDeterministic(t *testing.T) {
	assert.Equal(t, write(t, testSize, everything(t)), write(t, testSize, everything(t)))
}

func TestSectorSizes(t *testing.T) {
	for _, sector := range []int64{512, 1024, 2048, 4096} {
		size := 70_000 * sector
		d, opts := newDisk(size), options()
		opts.SectorSize = sector
		require.NoError(t, fat.Write(d, size, everything(t), opts))
		got, err := fat.Open(d, size)
		require.NoError(t, err)
		assert.Equal(t, list(everything(t)), list(got))
	}
}

// What others look for, at the offsets of the specification.
func TestLayout(t *testing.T) {
	d := write(t, 128<<20, newTree(t, map[string]string{"EFI/A": noise(3000), "EFI/B": noise(10)}))
	head := make([]byte, 8*512)
	_, err := d.ReadAt(head, 0)
	require.NoError(t, err)
	assert.Equal(t, head[:1024], head[6*512:], "backup of boot and information sectors")
	le := binary.LittleEndian
	assert.Equal(t, "EFI-SYSTEM ", string(head[71:82]))
	assert.EqualValues(t, 0x1234ABCD, le.Uint32(head[67:]))
	assert.EqualValues(t, 2, head[13], "sectors per cluster")

	reserved, size := int64(le.Uint16(head[14:])), int64(le.Uint32(head[36:]))
	data := (reserved + 2*size) * 512
	assert.Zero(t, data%4096, "data starts on 4 KiB")
	clusters := (128<<20 - data) / 1024
	// Root, EFI, three clusters of A, one of B.
	assert.EqualValues(t, clusters-6, le.Uint32(head[512+488:]), "free clusters")
	assert.EqualValues(t, 8, le.Uint32(head[512+492:]), "next free cluster")

	entries := make([]byte, 4*10)
	for _, at := range []int64{reserved, reserved + size} {
		_, err = d.ReadAt(entries, at*512)
		require.NoError(t, err)
		var got []uint32
		for b := entries; len(b) > 0; b = b[4:] {
			got = append(got, le.Uint32(b))
		}
		const end = 0x0FFFFFFF
		assert.Equal(t, []uint32{0x0FFFFFF8, end, end, end, 5, 6, end, end, 0, 0}, got)
	}

	dir := make([]byte, 128)
	_, err = d.ReadAt(dir, data+1024)
	require.NoError(t, err)
	assert.Equal(t, ".          \x10", string(dir[:12]))
	assert.EqualValues(t, 3, le.Uint16(dir[26:]))
	assert.Equal(t, "..         \x10", string(dir[32:44]))
	assert.EqualValues(t, 0, le.Uint16(dir[32+26:]), "the root is written as 0")
	assert.Equal(t, "A          \x20", string(dir[64:76]), "no long name needed")
}

type lying struct {
	tree.Blob
	size int64
}

func (l lying) Size() int64 { return l.size }

type broken struct{ tree.Blob }

func (broken) Open() (io.ReadCloser, error) { return nil, fs.ErrNotExist }

func TestWriteErrors(t *testing.T) {
	file := &tree.Node{Type: tree.File, Blob: tree.Bytes([]byte("four"))}
	blob := func(b tree.Blob) *tree.Node { return &tree.Node{Type: tree.File, Blob: b} }
	for _, c := range []struct {
		size  int64
		nodes map[string]*tree.Node
		opts  fat.Options
		want  string
	}{
		{16 << 20, nil, fat.Options{},
			"fat: size 16777216 gives 32224 clusters, FAT32 has 65525 to 268435445"},
		{100, nil, fat.Options{}, "fat: size 100 is not up to 2^32-1 sectors of 512 bytes"},
		{0, nil, fat.Options{}, "fat: size 0 gives 0 clusters, FAT32 has 65525 to 268435445"},
		{testSize, nil, fat.Options{SectorSize: 100}, "fat: sector size 100 is not 512, 1024, 2048 or 4096"},
		{testSize, nil, fat.Options{Label: "lower"}, `fat: label "lower" holds 'l', which FAT forbids`},
		{testSize, nil, fat.Options{Label: "TWELVE CHARS"},
			`fat: label "TWELVE CHARS" is not 1 to 11 characters that start with no space`},
		{testSize, nil, fat.Options{Time: 1}, "fat: time 1970-01-01T00:00:01Z is outside of 1980 to 2107"},
		{testSize, map[string]*tree.Node{"a/Name": file, "a/nAME": file}, fat.Options{},
			`fat: path /a/nAME: names "Name" and "nAME" are the same on FAT`},
		{testSize, map[string]*tree.Node{"a:b": file}, fat.Options{},
			`fat: path /a:b: name "a:b" holds ':', which FAT forbids`},
		{testSize, map[string]*tree.Node{"a/dot.": file}, fat.Options{},
			`fat: path /a/dot.: name "dot." starts or ends with what FAT drops`},
		{testSize, map[string]*tree.Node{"a\xff": file}, fat.Options{},
			"fat: path /a\xff: name \"a\\xff\" is not UTF-8"},
		{testSize, map[string]*tree.Node{strings.Repeat("🐧", 128): file}, fat.Options{},
			fmt.Sprintf("fat: path /%[1]s: name %[1]q has 256 UTF-16 units, limit 255",
				strings.Repeat("🐧", 128))},
		{testSize, map[string]*tree.Node{"l": {Type: tree.Symlink, Target: "x"}}, fat.Options{},
			"fat: path /l: a symlink cannot be on FAT"},
		{testSize, map[string]*tree.Node{"big": blob(lying{file.Blob, 1 << 32})}, fat.Options{},
			"fat: file /big: 4294967296 bytes, limit 4294967295"},
		{testSize, map[string]*tree.Node{"big": blob(lying{file.Blob, 50_000_000})}, fat.Options{},
			"fat: contents need 50000896 bytes, the volume holds 41271296: 8729600 bytes too many"},
		{testSize, map[string]*tree.Node{"f": blob(lying{file.Blob, 5})}, fat.Options{},
			"fat: file /f: content is 4 bytes, should be 5"},
		{testSize, map[string]*tree.Node{"f": blob(lying{file.Blob, 3})}, fat.Options{},
			"fat: file /f: content is longer than its 3 bytes"},
		{testSize, map[string]*tree.Node{"f": blob(broken{file.Blob})}, fat.Options{},
			"fat: file /f: file does not exist"},
	} {
		tr := tree.New()
		for p, n := range c.nodes {
			require.NoError(t, tr.Set(p, n))
		}
		if c.opts.Time == 0 {
			c.opts.Time = testTime
		}
		d := newDisk(c.size)
		assert.EqualError(t, fat.Write(d, c.size, tr, &c.opts), c.want)
		boot := make([]byte, 512)
		_, _ = d.ReadAt(boot, 0)
		assert.Zero(t, boot[510], "no boot sector after an error")
	}
	assert.EqualError(t, fat.Write(newDisk(4<<20), testSize, everything(t), options()),
		"fat: write beyond the end")
}

// The last file that fits, fits.
func TestFull(t *testing.T) {
	const room = 41271296 - 512 // all clusters but the root directory's
	tr := newTree(t, map[string]string{"f": noise(room)})
	d := write(t, testSize, tr)
	got, err := fat.Open(d, testSize)
	require.NoError(t, err)
	assert.Equal(t, list(tr), list(got))
	tr = newTree(t, map[string]string{"f": noise(room + 1)})
	assert.EqualError(t, fat.Write(newDisk(testSize), testSize, tr, options()),
		"fat: contents need 41271808 bytes, the volume holds 41271296: 512 bytes too many")
}

func TestContent(t *testing.T) {
	want := noise(70_000)
	d := write(t, testSize, newTree(t, map[string]string{"f": want}))
	tr, err := fat.Open(d, testSize)
	require.NoError(t, err)
	r, err := tr.Lookup("f").Blob.Open()
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(r, []byte(want)))
	require.NoError(t, r.Close())
}

func BenchmarkWrite(b *testing.B) {
	tr := newTree(b, map[string]string{"EFI/BOOT/BOOTX64.EFI": string(bytes.Repeat([]byte("k"), 60<<20))})
	b.SetBytes(60 << 20)
	for b.Loop() {
		require.NoError(b, fat.Write(discard{}, 128<<20, tr, options()))
	}
}

type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
