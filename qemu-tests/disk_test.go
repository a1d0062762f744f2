package qemutests_test

import (
	"bytes"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/build/erofs"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
	"slipway/qemu-tests/vm"
	"slipway/signing"
	"slipway/signing/footer"
)

// writeDisk writes a disk like the release's, with a newer version in USR-B
// that is not to be started, and returns its size.
func writeDisk(t testing.TB, f *os.File, r, newer *release) int64 {
	original, err := os.Open(r.path("slipway.img"))
	require.NoError(t, err)
	defer original.Close()
	info, err := original.Stat()
	require.NoError(t, err)
	layout := layoutOf(t, original, info.Size())

	contents := map[string]disk.Content{}
	for _, p := range layout.Partitions {
		size := p.Size * int64(layout.SectorSize)
		switch p.Label {
		case "USR-B":
			slot, err := os.Open(newer.path("usr.img"))
			require.NoError(t, err)
			defer slot.Close()
			contents[p.Label] = disk.Content{Data: slot, Size: size}
		case "USR-A", "EFI-SYSTEM", "BIOS-BOOT", "OEM":
			part := io.NewSectionReader(original, layout.Offset(p), size)
			contents[p.Label] = disk.Content{Data: part, Size: size}
		}
	}
	require.NoError(t, disk.Write(t.Context(), f, &disk.Options{Layout: layout, Contents: contents}))
	bootCode := make([]byte, 440)
	_, err = original.ReadAt(bootCode, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bootCode, 0)
	require.NoError(t, err)
	return info.Size()
}

func layoutOf(t testing.TB, r io.ReaderAt, size int64) partitions.Layout {
	table, err := partitions.Read(r, size, 512)
	require.NoError(t, err)
	return partitions.Layout{
		SectorSize: table.SectorSize, DiskSectors: table.DiskSectors,
		DiskUUID: table.DiskUUID, Partitions: table.Partitions,
	}
}

// testDisk is a disk that a test changes before a machine starts from it. The
// changes are in memory, over an image that tests share.
type testDisk struct {
	*powercut.Disk
	lab    *lab
	base   string // the image
	layout partitions.Layout
	zeros  []vm.Extent // too long to be in memory
	kept   string      // what look says of ROOT, if a machine ran from it
}

// used returns a disk that has been in use.
func (l *lab) used(t testing.TB) *testDisk {
	u := l.usedDisk(t)
	return &testDisk{
		Disk: powercut.Over(u.File, u.size), lab: l, base: u.Name(),
		layout: layoutOf(t, u.File, u.size), kept: u.kept,
	}
}

// fresh returns a disk as the release has it.
func (l *lab) fresh(t testing.TB) *testDisk {
	f, err := os.Open(l.path("slipway.img"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	return &testDisk{
		Disk: powercut.Over(f, info.Size()), lab: l, base: f.Name(), layout: layoutOf(t, f, info.Size()),
	}
}

// boot makes a machine with the disk and switches it on.
func (d *testDisk) boot(t testing.TB, c *vm.Config) *machine {
	c.Disk = d.base
	m := offMachine(t, d.lab, c)
	d.insert(t, m)
	return m
}

// bootShared is boot for a machine whose files other tests need too.
func (d *testDisk) bootShared(t testing.TB, c *vm.Config) *machine {
	c.Disk = d.base
	m := prepareMachine(t, d.lab, c)
	m.watch(t)
	d.lab.mu.Lock()
	d.lab.machines = append(d.lab.machines, m.VM)
	d.lab.mu.Unlock()
	d.insert(t, m)
	return m
}

// insert puts the disk into a machine and switches it on.
func (d *testDisk) insert(t testing.TB, m *machine) {
	m.kept = d.kept
	require.NoError(t, m.Write(t.Context(), d.changes(t)))
	m.start(t)
}

// changes are the differences to the image.
func (d *testDisk) changes(t testing.TB) []vm.Extent {
	extents := slices.Clone(d.zeros)
	require.NoError(t, d.Written(func(offset int64, data []byte) error {
		if n := len(extents); n > 0 && extents[n-1].Data != nil &&
			extents[n-1].Offset+extents[n-1].Size == offset {
			extents[n-1].Data = append(extents[n-1].Data, data...)
			extents[n-1].Size += int64(len(data))
			return nil
		}
		extents = append(extents, vm.Extent{Offset: offset, Size: int64(len(data)), Data: bytes.Clone(data)})
		return nil
	}))
	return extents
}

// sectors is what the disk holds in a part of a slot; a negative position
// counts from the slot's end.
func (d *testDisk) sectors(t testing.TB, label string, at, size int64) []vm.Extent {
	offset, slotSize := d.slot(t, label)
	if at < 0 {
		at += slotSize
	}
	data := make([]byte, size)
	_, err := d.ReadAt(data, offset+at)
	require.NoError(t, err)
	return []vm.Extent{{Offset: offset + at, Size: size, Data: data}}
}

// differences is what the disk holds where another one was changed.
func (d *testDisk) differences(t testing.TB, other *testDisk) []vm.Extent {
	extents := other.changes(t)
	for _, e := range extents {
		_, err := d.ReadAt(e.Data, e.Offset)
		require.NoError(t, err)
	}
	return extents
}

// slot is a place on the disk, in bytes, of a partition.
func (d *testDisk) slot(t testing.TB, label string) (offset, size int64) {
	p, ok := d.layout.Partition(label)
	require.True(t, ok)
	return d.layout.Offset(p), p.Size * 512
}

// set changes the attributes of a slot.
func (d *testDisk) set(t testing.TB, label string, a partitions.Attributes) {
	table, err := partitions.Read(d, d.Size(), 512)
	require.NoError(t, err)
	p, ok := d.layout.Partition(label)
	require.True(t, ok)
	require.NoError(t, partitions.SetAttributes(d, table, p.Number, a))
}

// onTrial makes USR-B the slot to try next, once, as an update does.
func (d *testDisk) onTrial(t testing.TB) { d.set(t, "USR-B", partitions.Slot(2, 1, false)) }

// install puts a version into a slot, in place of another one that differs
// little.
func (d *testDisk) install(t testing.TB, label string, r *release) {
	slot, err := os.Open(r.path("usr.img"))
	require.NoError(t, err)
	defer slot.Close()
	offset, size := d.slot(t, label)
	want, have := make([]byte, 1<<20), make([]byte, 1<<20)
	const step = 16 << 10
	for at := int64(0); at < size; at += int64(len(want)) {
		_, err := slot.ReadAt(want, at)
		require.NoError(t, err)
		_, err = d.ReadAt(have, offset+at)
		require.NoError(t, err)
		for i := 0; i < len(want) && !bytes.Equal(want, have); i += step {
			if !bytes.Equal(want[i:i+step], have[i:i+step]) {
				_, err := d.WriteAt(want[i:i+step], offset+at+int64(i))
				require.NoError(t, err)
			}
		}
	}
}

// flip changes one bit of a slot; a negative position counts from its end.
func (d *testDisk) flip(t testing.TB, label string, at int64) {
	offset, size := d.slot(t, label)
	if at < 0 {
		at += size
	}
	b := make([]byte, 1)
	_, err := d.ReadAt(b, offset+at)
	require.NoError(t, err)
	b[0] ^= 0x10
	_, err = d.WriteAt(b, offset+at)
	require.NoError(t, err)
}

// flipFile changes one bit of a file in a slot.
func (d *testDisk) flipFile(t testing.TB, label, path string) {
	offset, size := d.slot(t, label)
	usr, err := erofs.Open(io.NewSectionReader(d, offset, size), d.footer(t, label).FSSize)
	require.NoError(t, err)
	node := usr.Lookup(path)
	require.NotNil(t, node, path)
	at, length := node.Blob.(*erofs.Content).Blocks()
	require.NotZero(t, length, path)
	d.flip(t, label, at+100)
}

// truncate leaves the first part of a slot's file system and nothing of what
// follows.
func (d *testDisk) truncate(t testing.TB, label string) {
	offset, size := d.slot(t, label)
	left := d.footer(t, label).FSSize / 2
	d.zeros = append(d.zeros, vm.Extent{Offset: offset + left, Size: size - left})
}

// footer reads the footer that a slot has.
func (d *testDisk) footer(t testing.TB, label string) *footer.Footer {
	offset, size := d.slot(t, label)
	foot, _, err := footer.Inspect(io.NewSectionReader(d, offset, size), size)
	require.NoError(t, err)
	return foot
}

// sign puts another signature on a slot, by a key nobody knows, and returns
// the key's id.
func (d *testDisk) sign(t testing.TB, label string) string {
	offset, size := d.slot(t, label)
	foot := d.footer(t, label)
	stranger, _, err := signing.DevelopmentKey(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, footer.Write(t.Context(), io.NewOffsetWriter(d, offset), size, foot, stranger))
	return stranger.KeyID()
}
