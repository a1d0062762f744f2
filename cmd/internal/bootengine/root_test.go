package bootengine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// ext4Head is the start of an ext4 file system as far as the engine reads it.
func ext4Head(state uint16, incompat uint32) []byte {
	b := make([]byte, bootengine.BlankCheck)
	le := binary.LittleEndian
	le.PutUint32(b[1024+0x04:], 1000) // blocks
	le.PutUint32(b[1024+0x18:], 2)    // 4 KiB
	le.PutUint16(b[1024+0x38:], 0xef53)
	le.PutUint16(b[1024+0x3a:], state)
	le.PutUint32(b[1024+0x60:], incompat)
	le.PutUint32(b[1024+0x150:], 1) // high half, if 64bit
	return b
}

func at(off int, text string) []byte {
	b := make([]byte, bootengine.BlankCheck)
	copy(b[off:], text)
	return b
}

const (
	extents = 0x40
	bit64   = 0x80
	recover = 0x04
)

func TestPlanRoot(t *testing.T) {
	wrongSize := ext4Head(1, extents)
	wrongSize[1024+0x18] = 99
	cases := []struct {
		name   string
		head   []byte
		plan   string
		blocks uint64
		doubt  string // reason to verify every block
	}{
		{"blank", make([]byte, bootengine.BlankCheck), "make", 0, "this disk was never started"},
		{"interrupted", at(0, bootengine.Unfinished), "make", 0, "ROOT was not left clean"},
		{"clean", ext4Head(1, extents), "ready", 1000, ""},
		{"large", ext4Head(1, extents|bit64), "ready", 1<<32 + 1000, ""},
		{"power cut", ext4Head(1, extents|recover), "ready", 1000, "ROOT was not left clean"},
		{"errors", ext4Head(2, extents), "check", 1000, "ROOT was not left clean"},
		{"ext2", ext4Head(1, 0), "foreign", 0, "ROOT was not left clean"},
		{"senseless", wrongSize, "foreign", 0, "ROOT was not left clean"},
		{"xfs", at(0, "XFSB"), "foreign", 0, "ROOT was not left clean"},
		{"swap", at(4086, "SWAPSPACE2"), "foreign", 0, "ROOT was not left clean"},
		{"btrfs", at(0x10040, "_BHRfS_M"), "foreign", 0, "ROOT was not left clean"},
		{"last byte", at(bootengine.BlankCheck-1, "x"), "foreign", 0, "ROOT was not left clean"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan, _, blocks := bootengine.PlanRoot(c.head)
			assert.Equal(t, c.plan, plan)
			assert.Equal(t, c.blocks, blocks)
			assert.Equal(t, c.doubt, bootengine.Doubt(c.head))
		})
	}
	assert.Equal(t, "ROOT cannot be read", bootengine.Doubt(nil))
}

func TestHowToVerify(t *testing.T) {
	proven, fresh := partitions.Slot(1, 0, true), partitions.Slot(2, 1, false)
	cases := []struct {
		name, arguments, doubt string
		attributes             partitions.Attributes
		want                   string
	}{
		{"proven, in order", "", "", proven, "lazy"},
		{"on trial", "", "", fresh, "full: it is not proven yet"},
		{"in doubt", "", "ROOT was not left clean", proven, "full: ROOT was not left clean"},
		{"done before the kexec", "slipway.slot=4", "ROOT was not left clean", fresh, "lazy"},
		{"asked for less", "slipway.verify=lazy", "ROOT was not left clean", fresh, "lazy"},
		{"asked for all", "slipway.verify=full", "", proven, "full"},
		{"asked for all, after the kexec too", "slipway.verify=full slipway.slot=4", "", proven, "full"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config, err := bootengine.ReadConfig(initramfsOf(t, c.arguments))
			require.NoError(t, err)
			how, why := bootengine.HowToVerify(config, c.doubt, c.attributes)
			assert.Equal(t, c.want, strings.TrimSuffix(how+": "+why, ": "))
		})
	}
}

func FuzzPlanRoot(f *testing.F) {
	f.Add(ext4Head(1, extents)[:4096])
	f.Add([]byte(bootengine.Unfinished))
	f.Fuzz(func(t *testing.T, head []byte) {
		plan, blockSize, _ := bootengine.PlanRoot(head)
		if plan == "ready" || plan == "check" {
			assert.Positive(t, blockSize)
		}
	})
}

func TestPlanFSGrow(t *testing.T) {
	cases := []struct {
		name string
		size int64
		want uint64
		grow bool
	}{
		{"exact", 4096 * 10000, 10000, false},
		{"a little more is left", 4096*10000 + 15<<20, 10000, false},
		{"more", 4096*10000 + 16<<20, 14096, true},
		{"smaller partition", 4096, 10000, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, grow := bootengine.PlanFSGrow(4096, 10000, c.size)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.grow, grow)
		})
	}
}

// sparseDisk is a Device that keeps only what was written.
type sparseDisk struct{ *os.File }

func TestPlanGrow(t *testing.T) {
	layout := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.Nil))
	read := func(size int64) *partitions.Table {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		require.NoError(t, f.Truncate(layout.DiskSize()))
		require.NoError(t, partitions.Create(sparseDisk{f}, layout.DiskSize(), layout))
		require.NoError(t, f.Truncate(size))
		table, err := partitions.Read(f, size, 512)
		require.NoError(t, err)
		return table
	}
	same, grown := read(layout.DiskSize()), read(layout.DiskSize()+1<<30)
	root, ok := bootengine.RootPartition(same)
	require.True(t, ok)
	assert.Equal(t, "ROOT", root.Label)
	assert.False(t, bootengine.PlanGrow(same, 9))
	assert.True(t, bootengine.PlanGrow(grown, 9))
	assert.False(t, bootengine.PlanGrow(grown, 4), "it is not the last one")
	assert.False(t, bootengine.PlanGrow(grown, 99))
	assert.False(t, bootengine.PlanGrow(read(layout.DiskSize()+1<<20), 9), "not for a megabyte")

	// Sectors of 4096 bytes: the array takes 4 of them, not 32.
	big := partitions.Layout{
		SectorSize: 4096, DiskSectors: 1 << 18, DiskUUID: uuid.NameSpaceDNS,
		Partitions: []partitions.Partition{{
			Number: 9, Label: "ROOT", Type: uuid.MustParse(partitions.TypeResize), UUID: uuid.NameSpaceURL,
			Start: 256, Size: 1<<18 - 256 - 5,
		}},
	}
	for grow, want := range map[int64]bool{0: false, 1 << 20: false, 2 << 20: true, 1 << 30: true} {
		d := powercut.New(big.DiskSize() + grow)
		require.NoError(t, partitions.Create(d, big.DiskSize(), big))
		table, err := partitions.Read(d, big.DiskSize()+grow, 4096)
		require.NoError(t, err)
		assert.Equal(t, want, bootengine.PlanGrow(table, 9), "%d bytes more", grow)
	}
}

// crashDisk fails after a number of written sectors; a write is torn there.
type crashDisk struct {
	data []byte
	left int
}

var errCut = errors.New("power cut")

func (c *crashDisk) WriteAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); n += 512 {
		if c.left == 0 {
			return n, errCut
		}
		c.left--
		copy(c.data[off+int64(n):], b[n:min(n+512, len(b))])
	}
	return len(b), nil
}

func (c *crashDisk) Sync() error { return nil }

// image is a sparse file with data in its first blocks and far behind.
type image struct{ data []byte }

func (m image) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(b, off)
}

func (m image) Data(offset int64) (start, end int64, err error) {
	for _, s := range [][2]int64{{0, 12288}, {1 << 20, 1<<20 + 8192}} {
		if offset < s[1] {
			return max(offset, s[0]), s[1], nil
		}
	}
	return 0, 0, io.EOF
}

// TestMakingRootSurvivesPowerCuts cuts the power after every sector: what is
// left is blank, or marked as unfinished, or complete.
func TestMakingRootSurvivesPowerCuts(t *testing.T) {
	img := image{make([]byte, 2<<20)}
	copy(img.data, ext4Head(1, extents))
	copy(img.data[4096:], "group descriptors")
	copy(img.data[1<<20:], "inode tables")
	const enough = 1000
	outcomes := map[string]int{}
	for cut := range enough {
		d := &crashDisk{data: make([]byte, len(img.data)), left: cut}
		err := bootengine.MarkUnfinished(d)
		if err == nil {
			err = bootengine.CopyFileSystem(d, img)
		}
		plan, _, _ := bootengine.PlanRoot(d.data[:bootengine.BlankCheck])
		outcomes[plan]++
		switch {
		case plan == "ready":
			require.Equal(t, img.data, d.data, "complete after %d sectors", cut)
		case plan != "make" || err == nil:
			t.Fatalf("cut after %d sectors: plan %s, error %v", cut, plan, err)
		}
		if err == nil {
			assert.Equal(t, 41, outcomes["make"])
			return
		}
	}
	t.Fatal("it never came to an end")
}

func TestSkeletonAndMachineID(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "home"), 0o711))
	for range 2 {
		require.NoError(t, bootengine.MakeSkeleton(root))
	}
	var got strings.Builder
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		target, _ := os.Readlink(filepath.Join(root, e.Name()))
		if info.Mode()&os.ModeSymlink != 0 {
			fmt.Fprintf(&got, "%s -> %s\n", e.Name(), target)
		} else {
			fmt.Fprintf(&got, "%s %v\n", e.Name(), info.Mode())
		}
	}
	assert.Equal(t, `.etc-work drwx------
bin -> usr/bin
boot drwxr-xr-x
dev drwxr-xr-x
etc drwxr-xr-x
home drwx--x--x
lib -> usr/lib
lib64 -> usr/lib64
media drwxr-xr-x
mnt drwxr-xr-x
oem drwxr-xr-x
opt drwxr-xr-x
proc dr-xr-xr-x
root drwx------
run drwxr-xr-x
sbin -> usr/sbin
srv drwxr-xr-x
sys dr-xr-xr-x
tmp dtrwxrwxrwx
usr drwxr-xr-x
var drwxr-xr-x
`, got.String())

	etc := filepath.Join(root, "etc")
	id := func() string {
		text, err := os.ReadFile(filepath.Join(etc, "machine-id"))
		require.NoError(t, err)
		return string(text)
	}
	require.NoError(t, bootengine.EnsureMachineID(etc, bytes.NewReader(bytes.Repeat([]byte{0xff}, 16))))
	assert.Equal(t, "ffffffffffff4fffbfffffffffffffff\n", id())
	require.NoError(t, bootengine.EnsureMachineID(etc, strings.NewReader("")), "it is there")
	require.NoError(t, os.WriteFile(filepath.Join(etc, "machine-id"), []byte("uninitialized\n"), 0o644))
	require.NoError(t, bootengine.EnsureMachineID(etc, bytes.NewReader(make([]byte, 16))))
	assert.Equal(t, "00000000000040008000000000000000\n", id())
}
