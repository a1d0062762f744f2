package qemutests_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/build/erofs"
	"slipway/partitions"
	"slipway/qemu-tests/vm"
	"slipway/signing"
	"slipway/signing/footer"
)

// slotDisk is a copy of a release's disk that a test changes before it boots.
type slotDisk struct {
	*os.File
	layout partitions.Layout
}

// newSlotDisk makes a disk like the release's with its slot image in both
// slots, if both is set, of which USR-A is to be tried first.
func newSlotDisk(t *testing.T, r *release, both bool) *slotDisk {
	original, err := os.Open(r.path("slipway.img"))
	require.NoError(t, err)
	defer original.Close()
	info, err := original.Stat()
	require.NoError(t, err)
	table, err := partitions.Read(original, info.Size(), 512)
	require.NoError(t, err)
	slot, err := os.Open(r.path("usr.img"))
	require.NoError(t, err)
	defer slot.Close()

	d := &slotDisk{layout: partitions.Layout{
		SectorSize: table.SectorSize, DiskSectors: table.DiskSectors,
		DiskUUID: table.DiskUUID, Partitions: table.Partitions,
	}}
	contents := map[string]disk.Content{}
	for i := range d.layout.Partitions {
		p := &d.layout.Partitions[i]
		size := p.Size * 512
		switch p.Label {
		case "USR-A":
			p.Attributes = partitions.Slot(2, 0, true)
			contents[p.Label] = disk.Content{Data: slot, Size: size}
		case "USR-B":
			if both {
				p.Attributes = partitions.Slot(1, 0, true)
				contents[p.Label] = disk.Content{Data: slot, Size: size}
			}
		case "EFI-SYSTEM", "BIOS-BOOT", "OEM":
			part := io.NewSectionReader(original, d.layout.Offset(*p), size)
			contents[p.Label] = disk.Content{Data: part, Size: size}
		}
	}
	d.File, err = os.Create(filepath.Join(t.TempDir(), "disk.img"))
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, disk.Write(t.Context(), d, &disk.Options{Layout: d.layout, Contents: contents}))
	bootCode := make([]byte, 440)
	_, err = original.ReadAt(bootCode, 0)
	require.NoError(t, err)
	_, err = d.WriteAt(bootCode, 0)
	require.NoError(t, err)
	return d
}

// slot is the place of a slot on the disk.
func (d *slotDisk) slot(t *testing.T, label string) (offset, size int64) {
	p, ok := d.layout.Partition(label)
	require.True(t, ok)
	return d.layout.Offset(p), p.Size * 512
}

// flip changes one bit of a slot; a negative position counts from its end.
func (d *slotDisk) flip(t *testing.T, label string, at int64) {
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

// sign puts another signature on a slot, by a key nobody knows, and returns
// the key's id.
func (d *slotDisk) sign(t *testing.T, label string) string {
	offset, size := d.slot(t, label)
	foot, _, err := footer.Inspect(io.NewSectionReader(d, offset, size), size)
	require.NoError(t, err)
	stranger, _, err := signing.DevelopmentKey(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, footer.Write(t.Context(), io.NewOffsetWriter(d, offset), size, foot, stranger))
	return stranger.KeyID()
}

// footerOf reads the footer that the release's slot has.
func footerOf(t *testing.T, r *release) *footer.Footer {
	slot, err := os.Open(r.path("usr.img"))
	require.NoError(t, err)
	defer slot.Close()
	info, err := slot.Stat()
	require.NoError(t, err)
	foot, _, err := footer.Inspect(slot, info.Size())
	require.NoError(t, err)
	return foot
}

// flipFile changes one bit of a file in the slot.
func (d *slotDisk) flipFile(t *testing.T, label, path string) {
	offset, size := d.slot(t, label)
	slot := io.NewSectionReader(d, offset, size)
	foot, _, err := footer.Inspect(slot, size)
	require.NoError(t, err)
	usr, err := erofs.Open(slot, foot.FSSize)
	require.NoError(t, err)
	node := usr.Lookup(path)
	require.NotNil(t, node, path)
	at, length := node.Blob.(*erofs.Content).Blocks()
	require.NotZero(t, length, path)
	d.flip(t, label, at+100)
}

// damage is a way for a slot to be bad, with what the console says of it.
type damage struct {
	name string
	do   func(t *testing.T, d *slotDisk, foot *footer.Footer)
	want string
}

// badProgram is a bad block in what the slot starts. A disk's first boot looks
// at every block and finds it; a later one may find it when the kernel reads
// it, stop, and look at every block the next time.
func badProgram() damage {
	return damage{
		"program", func(t *testing.T, d *slotDisk, _ *footer.Footer) {
			d.flipFile(t, "USR-A", "lib/systemd/systemd")
		}, `slipway: USR-A: verity: data block \d+ is corrupt`,
	}
}

func damages() []damage {
	return []damage{
		{
			"file-system", func(t *testing.T, d *slotDisk, _ *footer.Footer) { d.flip(t, "USR-A", 1024) },
			`slipway: USR-A: (verity: data block 0 is corrupt|mount its erofs: input/output error)`,
		},
		{
			"hash-tree", func(t *testing.T, d *slotDisk, foot *footer.Footer) {
				d.flip(t, "USR-A", foot.HashOffset+foot.HashSize-4096)
			}, `slipway: USR-A: verity: tree level \d+, block \d+ is corrupt`,
		},
		{
			"footer", func(t *testing.T, d *slotDisk, _ *footer.Footer) {
				d.flip(t, "USR-A", -footer.Size+100)
			}, `slipway: USR-A: slot footer: bad signature by `,
		},
		{
			"unknown-key", func(t *testing.T, d *slotDisk, _ *footer.Footer) { d.sign(t, "USR-A") },
			`slipway: USR-A: slot footer: not signed by a known key: signed by [0-9a-f]{16}; accepted: [0-9a-f]{16}`,
		},
		badProgram(),
	}
}

// TestDamagedSlot boots disks whose only slot is bad: each must say why and
// start nothing of it.
func TestDamagedSlot(t *testing.T) {
	eachChannel(t, func(t *testing.T, b *bench, r *release) {
		for _, test := range damages() {
			t.Run(test.name, func(t *testing.T) {
				d := newSlotDisk(t, r, false)
				test.do(t, d, footerOf(t, r))
				m := newMachine(t, b, r, &vm.Config{Disk: d.Name()})
				t.Log(strings.TrimSpace(m.expect(t, test.want+`.*\n`)[0]))
				m.expect(t, `slipway: no slot can be started`)
				assert.NotContains(t, m.Console().Text(), "systemd[1]")
			})
		}
	})
}

// TestOtherSlot boots a disk whose first slot is bad and whose second is good:
// the second must start.
func TestOtherSlot(t *testing.T) {
	eachChannel(t, func(t *testing.T, b *bench, r *release) {
		test := badProgram()
		d := newSlotDisk(t, r, true)
		test.do(t, d, footerOf(t, r))
		m := newMachine(t, b, r, &vm.Config{Disk: d.Name(), Memory: 2048})
		t.Log(strings.TrimSpace(m.expect(t, test.want+`.*\n`)[0]))
		m.booted(t)
		report := m.bootReport(t)
		assert.Equal(t, "USR-B", report.Slot)
		assert.Regexp(t, `verity: data block \d+ is corrupt`, report.Failures["USR-A"])
		assert.Equal(t, "USR-B", m.run(t, "lsblk -ndo PARTLABEL "+report.Device))
	})
}

// TestNoKernel boots a BIOS machine without a file system on its ESP: GRUB must
// say so and try again, not wait at a prompt.
func TestNoKernel(t *testing.T) {
	oneChannel(t, func(t *testing.T, b *bench, r *release) {
		d := newSlotDisk(t, r, false)
		offset, _ := d.slot(t, "EFI-SYSTEM")
		_, err := d.WriteAt(make([]byte, 4096), offset)
		require.NoError(t, err)
		m := newMachine(t, b, r, &vm.Config{Disk: d.Name(), NoReboot: true})
		m.expect(t, `slipway: GRUB: /EFI/BOOT/BOOTX64.EFI does not boot; restarting in 30 seconds`)
	})
}
