package fat_test

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tree"
)

// small is a file system with: cluster 2 root, 3 /d, 4 /d/g, 5-7 /f.
func small(t testing.TB) *disk {
	return write(t, testSize, newTree(t, map[string]string{"f": noise(1500), "d/g": "g"}))
}

// place gives the offsets of the first FAT and of a cluster.
func place(t testing.TB, d io.ReaderAt) (fatAt int64, cluster func(int64) int64) {
	b := make([]byte, 64)
	_, err := d.ReadAt(b, 0)
	require.NoError(t, err)
	le := binary.LittleEndian
	reserved, size := int64(le.Uint16(b[14:])), int64(le.Uint32(b[36:]))
	return reserved * 512, func(n int64) int64 { return (reserved+2*size)*512 + (n-2)*512 }
}

func TestOpenErrors(t *testing.T) {
	put32 := func(d *disk, off int64, v uint32) {
		_, err := d.WriteAt(binary.LittleEndian.AppendUint32(nil, v), off)
		require.NoError(t, err)
	}
	put := func(d *disk, off int64, b ...byte) {
		_, err := d.WriteAt(b, off)
		require.NoError(t, err)
	}
	// Entries of the root: label, long name and D, long name and F.
	const dirD, dirF = 2 * 32, 4 * 32
	for _, c := range []struct {
		name   string
		change func(d *disk, fat int64, cluster func(int64) int64)
		want   string
	}{
		{"signature", func(d *disk, _ int64, _ func(int64) int64) { put(d, 510, 0) },
			"fat: boot sector: signature is 0x00aa, should be 0x55aa"},
		{"sector", func(d *disk, _ int64, _ func(int64) int64) { put(d, 11, 1, 2) },
			"fat: boot sector: sectors of 513 bytes"},
		{"cluster", func(d *disk, _ int64, _ func(int64) int64) { put(d, 13, 3) },
			"fat: boot sector: clusters of 3 sectors"},
		{"FAT16", func(d *disk, _ int64, _ func(int64) int64) { put(d, 22, 100) },
			"fat: boot sector: file system is FAT12 or FAT16, not FAT32"},
		{"no FAT", func(d *disk, _ int64, _ func(int64) int64) { put(d, 16, 0) },
			"fat: boot sector: 32 reserved sectors and 0 FATs"},
		{"too large", func(d *disk, _ int64, _ func(int64) int64) { put32(d, 32, 1<<31) },
			"fat: boot sector: file system has 2147483648 sectors of 512 bytes, 41943040 bytes are there"},
		{"few clusters", func(d *disk, _ int64, _ func(int64) int64) { put32(d, 32, 60_000) },
			"fat: boot sector: 58688 clusters, FAT32 has 65525 to 268435445"},
		{"small FAT", func(d *disk, _ int64, _ func(int64) int64) { put32(d, 36, 10) },
			"fat: boot sector: FAT of 10 sectors is too small for 81868 clusters"},
		{"root", func(d *disk, _ int64, _ func(int64) int64) { put32(d, 44, 1) },
			"fat: /: cluster 1 does not exist"},
		{"root at the end", func(d *disk, _ int64, _ func(int64) int64) { put32(d, 44, 0x0FFFFFFF) },
			"fat: /: cluster 268435455 does not exist"},
		{"loop", func(d *disk, fat int64, _ func(int64) int64) { put32(d, fat+6*4, 5) },
			`fat: /: directory entry "f": cluster 5 is used twice`},
		{"joined", func(d *disk, fat int64, _ func(int64) int64) { put32(d, fat+4*4, 6) },
			`fat: /d: directory entry "g": cluster 6 is used twice`},
		{"early end", func(d *disk, fat int64, _ func(int64) int64) { put32(d, fat+6*4, 0x0FFFFFF8) },
			`fat: /: directory entry "f": 1500 bytes, its clusters hold 1024`},
		{"free", func(d *disk, fat int64, _ func(int64) int64) { put32(d, fat+5*4, 0) },
			`fat: /: directory entry "f": cluster 0 does not exist`},
		{"beyond", func(d *disk, fat int64, _ func(int64) int64) { put32(d, fat+5*4, 0x0F000000) },
			`fat: /: directory entry "f": cluster 251658240 does not exist`},
		{"directory is its parent", func(d *disk, _ int64, cluster func(int64) int64) {
			put(d, cluster(2)+dirD+26, 2)
		}, "fat: /d: cluster 2 is used twice"},
		{"same name", func(d *disk, _ int64, cluster func(int64) int64) {
			put(d, cluster(2)+dirD+11, 0) // D becomes a file, without its long name
			put(d, cluster(2)+dirD, 'F')
			put(d, cluster(2)+dirF-32+11, 8)
		}, `fat: /: directory entry "F": present twice`},
		{"slash", func(d *disk, _ int64, cluster func(int64) int64) { put(d, cluster(2)+dirF, '/') },
			`fat: /: directory entry: bad name "/"`},
		{"dots", func(d *disk, _ int64, cluster func(int64) int64) { put(d, cluster(2)+dirF, '.', '.') },
			`fat: /: directory entry: bad name ".."`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := small(t)
			fatAt, cluster := place(t, d)
			c.change(d, fatAt, cluster)
			_, err := fat.Open(d, testSize)
			assert.EqualError(t, err, c.want)
		})
	}
	_, err := fat.Open(newDisk(100), 100)
	assert.EqualError(t, err, "fat: boot sector: bytes 0 to 512 are outside of the file system's 100")
}

// Names as other systems leave them behind.
func TestNamesOfOthers(t *testing.T) {
	entry := func(name string, attr, flags byte) []byte {
		e := make([]byte, 32)
		copy(e, name)
		e[11], e[12] = attr, flags
		return e
	}
	for _, c := range []struct {
		name  string
		entry []byte
		want  string
	}{
		{"both lower", entry("GRUB    CFG", 0x20, 0x18), "grub.cfg"},
		{"lower base", entry("GRUB    CFG", 0x20, 0x08), "grub.CFG"},
		{"lower extension", entry("GRUB    CFG", 0x20, 0x10), "GRUB.cfg"},
		{"no extension", entry("VMLINUZ    ", 0x20, 0), "VMLINUZ"},
		{"stands for E5", entry("\x05BC        ", 0x20, 0), "åBC"},
		{"deleted", entry("\xE5BC        ", 0x20, 0), ""},
		{"label", entry("A LABEL    ", 0x08, 0), ""},
		{"long name of another", entry("\x41a\x00b\x00c\x00d\x00", 0x0F, 0), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := write(t, testSize, tree.New())
			_, cluster := place(t, d)
			_, err := d.WriteAt(append(c.entry, entry("LAST       ", 0x20, 0)...), cluster(2))
			require.NoError(t, err)
			tr, err := fat.Open(d, testSize)
			require.NoError(t, err)
			want := []string{".", "LAST"}
			if c.want != "" {
				want = append(want, c.want)
			}
			assert.ElementsMatch(t, want, tr.Paths())
		})
	}
}

// The start of a file system is replaced by foreign bytes: boot sector, FAT
// and directories. Open must end, and what it gives must be readable.
func FuzzOpen(f *testing.F) {
	seed := func(d *disk) {
		_, cluster := place(f, d)
		head, data := make([]byte, 512), make([]byte, 4096)
		_, err := d.ReadAt(head, 0)
		require.NoError(f, err)
		_, err = d.ReadAt(data, cluster(2))
		require.NoError(f, err)
		fatAt, _ := place(f, d)
		entries := make([]byte, 1024)
		_, err = d.ReadAt(entries, fatAt)
		require.NoError(f, err)
		f.Add(head[:90], entries, data)
	}
	seed(small(f))
	seed(write(f, testSize, everything(f)))
	f.Fuzz(func(t *testing.T, head, entries, data []byte) {
		d := small(t)
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
		tr, err := fat.Open(d, testSize)
		if err != nil {
			return
		}
		for p, n := range tr.All() {
			if n.Type == tree.File {
				_, err := tree.ReadAll(n.Blob)
				require.NoError(t, err, p)
			}
		}
	})
}
