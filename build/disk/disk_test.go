package disk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/partitions"
)

const sector = 512

func layout() partitions.Layout {
	return partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceDNS))
}

// grub has the shape of GRUB's images; the bytes tell where they went.
func grub() *disk.GRUB {
	boot, core := bytes.Repeat([]byte{'b'}, sector), bytes.Repeat([]byte{'c'}, 3*sector-100)
	boot[510], boot[511] = 0x55, 0xaa
	return &disk.GRUB{Boot: boot, Core: core}
}

func newFile(t testing.TB) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func content(b []byte) disk.Content {
	return disk.Content{Data: bytes.NewReader(b), Size: int64(len(b))}
}

func readAt(t testing.TB, r io.ReaderAt, offset int64, n int) []byte {
	b := make([]byte, n)
	_, err := r.ReadAt(b, offset)
	require.NoError(t, err)
	return b
}

func allocated(t testing.TB, f *os.File) int64 {
	info, err := f.Stat()
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// slot is 40 MiB with three blocks of data in it.
func slot() []byte {
	b := make([]byte, 40<<20)
	for _, at := range []int{0, 10<<20 + 4096, 40<<20 - 4096} {
		copy(b[at:], bytes.Repeat([]byte{byte(at>>20) + 1}, 4096))
	}
	return b
}

func TestWritePlacesEverything(t *testing.T) {
	f, usr, l := newFile(t), slot(), layout()
	err := disk.Write(t.Context(), f, &disk.Options{
		Layout: l, GRUB: grub(),
		Contents: map[string]disk.Content{"USR-A": content(usr), "OEM": content([]byte("oem"))},
	})
	require.NoError(t, err)

	table, err := partitions.Read(f, l.DiskSize(), sector)
	require.NoError(t, err)
	assert.Equal(t, l.Partitions, table.Partitions)
	assert.True(t, bytes.Equal(usr, readAt(t, f, 270336*sector, len(usr))))
	assert.Equal(t, "oem\x00", string(readAt(t, f, 4464640*sector, 4)))

	mbr := readAt(t, f, 0, sector)
	want := bytes.Repeat([]byte{'b'}, 440)
	binary.LittleEndian.PutUint64(want[0x5c:], 266240)
	copy(want[0x64:], []byte{0xff, 'b', 0x90, 0x90})
	assert.Equal(t, want, mbr[:440])
	assert.Equal(t, byte(0xee), mbr[450], "protective partition")

	core := readAt(t, f, 266240*sector, 4*sector)
	want = append(bytes.Repeat([]byte{'c'}, 3*sector-100), make([]byte, 100+sector)...)
	binary.LittleEndian.PutUint64(want[0x1f4:], 266241)
	copy(want[0x1fc:], []byte{2, 0, 0x20, 0x08})
	assert.Equal(t, want, core)

	assert.Less(t, allocated(t, f), int64(1<<20), "the image is sparse")
}

func TestWriteCopiesFilesWithHoles(t *testing.T) {
	source, f := newFile(t), newFile(t)
	usr := slot()
	require.NoError(t, source.Truncate(int64(len(usr))))
	for _, at := range []int64{0, 10<<20 + 4096, 40<<20 - 4096} {
		_, err := source.WriteAt(usr[at:at+4096], at)
		require.NoError(t, err)
	}
	err := disk.Write(t.Context(), f, &disk.Options{
		Layout: layout(),
		Contents: map[string]disk.Content{
			"USR-A": {Data: source, Size: int64(len(usr))},
		},
	})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(usr, readAt(t, f, 270336*sector, len(usr))))
	assert.Less(t, allocated(t, f), int64(1<<20))
}

func TestWriteGivesEqualBytes(t *testing.T) {
	source := newFile(t)
	_, err := source.WriteAt(slot(), 0)
	require.NoError(t, err)
	write := func(c disk.Content) []byte {
		f := newFile(t)
		_, err := f.WriteAt([]byte("left from before"), 2367488*sector+8192)
		require.NoError(t, err)
		require.NoError(t, disk.Write(t.Context(), f, &disk.Options{
			Layout: layout(), GRUB: grub(), Contents: map[string]disk.Content{"USR-B": c},
		}))
		return append(readAt(t, f, 0, 34*sector), readAt(t, f, 2367488*sector, 40<<20)...)
	}
	want := write(content(slot()))
	assert.True(t, bytes.Equal(want, write(disk.Content{Data: source, Size: 40 << 20})))
}

func TestWriteErrors(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	huge := disk.Content{Data: bytes.NewReader(nil), Size: 1<<30 + 7}
	tests := []struct {
		name    string
		ctx     context.Context
		change  func(o *disk.Options)
		wantErr string
	}{
		{"too large", nil, func(o *disk.Options) { o.Contents["USR-A"], o.Contents["OEM"] = huge, huge },
			`partition "OEM": content is 1073741831 bytes, partition holds 134217728: 939524103 too many` +
				"\n" + `partition "USR-A": content is 1073741831 bytes, partition holds 1073741824: 7 too many`},
		{"unknown label", nil, func(o *disk.Options) { o.Contents["USR-C"] = content(nil) },
			`partition "USR-C": there is content, but it is not in the layout`},
		{"short source", nil, func(o *disk.Options) {
			o.Contents["OEM"] = disk.Content{Data: strings.NewReader("abc"), Size: 5}
		}, `partition "OEM": want 5 bytes, the source ends after 3`},
		{"cancelled", cancelled, func(o *disk.Options) { o.Contents["OEM"] = content([]byte("abc")) },
			`partition "BIOS-BOOT": context canceled`},
		{"core too large", nil, func(o *disk.Options) { o.GRUB.Core = make([]byte, 4096*sector+1) },
			`partition "BIOS-BOOT": content is 2097664 bytes, partition holds 2097152: 512 too many`},
		{"core beyond a block list", nil, func(o *disk.Options) { o.GRUB.Core = make([]byte, 1<<25) },
			"core.img: 65536 sectors, GRUB's block list holds 65535"},
		{"no core", nil, func(o *disk.Options) { o.GRUB.Core = nil }, "core.img: less than two sectors"},
		{"no boot sector", nil, func(o *disk.Options) { o.GRUB.Boot = make([]byte, sector) },
			"boot.img: not a boot sector of 512 bytes"},
		{"no place for GRUB", nil, func(o *disk.Options) { o.Layout.Partitions = o.Layout.Partitions[:1] },
			`GRUB: the layout has no partition "BIOS-BOOT"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			o := &disk.Options{Layout: layout(), GRUB: grub(), Contents: map[string]disk.Content{}}
			test.change(o)
			assert.EqualError(t, disk.Write(test.ctx, newFile(t), o), test.wantErr)
		})
	}
}

func TestShortFileIsAnError(t *testing.T) {
	source := newFile(t)
	require.NoError(t, source.Truncate(4096))
	err := disk.Write(t.Context(), newFile(t), &disk.Options{
		Layout: layout(), Contents: map[string]disk.Content{"OEM": {Data: source, Size: 8192}},
	})
	assert.EqualError(t, err, `partition "OEM": want 8192 bytes, the source ends after 4096`)
}

func TestCheckESP(t *testing.T) {
	const size = 128 << 20
	assert.NoError(t, disk.CheckESP(size, 15<<20))
	assert.NoError(t, disk.CheckESP(size, 62<<20))
	assert.EqualError(t, disk.CheckESP(size, 64<<20),
		`partition "EFI-SYSTEM": an update needs two UKIs of 67108864 bytes on it, it holds 132055040`)
	assert.EqualError(t, disk.CheckESP(0, 1), `partition "EFI-SYSTEM": an update needs two UKIs of 1 bytes on it, it holds 0`)

	// What is called enough is enough for the file system.
	const uki = 62 << 20
	files, err := disk.ESP(tree.Bytes(make([]byte, uki)), 0)
	require.NoError(t, err)
	require.NoError(t, files.Set("EFI/BOOT/second.efi", &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(make([]byte, uki))}))
	f := newFile(t)
	require.NoError(t, f.Truncate(size))
	assert.NoError(t, fat.Write(f, size, files, &fat.Options{Time: 1763700000}))
}
