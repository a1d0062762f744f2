package powercut_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// The disk of these tests: that of an image, with content of some kilobytes.
const (
	slotA, slotB, espNumber, rootNumber = 3, 4, 1, 9

	slotContent = 48 << 10
	bootFile    = "EFI/BOOT/BOOTX64.EFI"
	bootSize    = 9000 // of the slot's content: what goes to the ESP
)

// version is the content of a slot: noise, and its digest as the footer.
func version(n uint64) []byte {
	b := make([]byte, slotContent)
	rng := rand.New(rand.NewPCG(n, 0))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	sum := sha256.Sum256(b[:len(b)-32])
	copy(b[len(b)-32:], sum[:])
	return b
}

// layout is the default one. Its ESP is FAT32 with sectors of 512 bytes on
// either kind of disk: with larger ones it would have too few clusters.
func layout(sectorSize int64) partitions.Layout {
	l := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NameSpaceOID))
	scale := sectorSize / 512
	l.SectorSize, l.DiskSectors, l.Alignment = int(sectorSize), l.DiskSectors/scale, 4096/scale
	for i := range l.Partitions {
		l.Partitions[i].Start /= scale
		l.Partitions[i].Size /= scale
	}
	root := &l.Partitions[len(l.Partitions)-1]
	root.Size = l.DiskSectors - 2 - 128*128/sectorSize - root.Start + 1
	return l
}

// section is a partition of a disk as a disk of its own.
type section struct {
	partitions.Device
	start, size int64
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(s.Device, s.start, s.size).ReadAt(p, off)
}

func (s section) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > s.size {
		return 0, io.ErrShortWrite
	}
	return s.Device.WriteAt(p, s.start+off)
}

// machine is the disk of a machine in the hands of the programs that change
// it.
type machine struct {
	partitions.Device
	size, sectorSize int64
}

func (m machine) table() (*partitions.Table, error) {
	return partitions.Read(m, m.size, int(m.sectorSize))
}

func (m machine) section(t *partitions.Table, number int) section {
	p, _ := t.Partition(number)
	return section{m, p.Start * m.sectorSize, p.Size * m.sectorSize}
}

// whole says whether a slot's content is what its footer says.
func (m machine) whole(t *partitions.Table, number int) bool {
	b := make([]byte, slotContent)
	_, err := m.section(t, number).ReadAt(b, 0)
	sum := sha256.Sum256(b[:len(b)-32])
	return err == nil && bytes.Equal(b[len(b)-32:], sum[:])
}

// boots is the version of the boot file on the ESP.
func (m machine) boots(t *partitions.Table) ([]byte, error) {
	esp := m.section(t, espNumber)
	tr, err := fat.Open(esp, esp.size)
	if err != nil {
		return nil, err
	}
	for name, n := range tr.All() {
		if name == bootFile {
			return tree.ReadAll(n.Blob)
		}
	}
	return nil, fmt.Errorf("%s is gone", bootFile)
}

// step is one thing that is done to a machine. All can be done again, on
// what a power cut left of them as well as when they are done already.
type step struct {
	name string
	run  func(m machine, t *partitions.Table) error
	// table says that nothing but the table is written.
	table bool
	// every says how many of the states the step is done again on: one of
	// so many.
	every int
}

// attributes changes those of one slot.
func attributes(number int, change func(partitions.Attributes) partitions.Attributes) func(machine, *partitions.Table) error {
	return func(m machine, t *partitions.Table) error {
		p, _ := t.Partition(number)
		return partitions.SetAttributes(m, t, number, change(p.Attributes))
	}
}

// changeover puts a version into a slot that another one boots instead of,
// and makes it the one that boots.
func changeover(slot int, content []byte) []step {
	disarm := func(partitions.Attributes) partitions.Attributes { return partitions.Slot(0, 0, false) }
	good := func(a partitions.Attributes) partitions.Attributes { return a.WithTries(0).WithSuccessful(true) }
	return []step{
		{"the slot must not be booted", attributes(slot, disarm), true, 1},
		{"the slot is written", func(m machine, t *partitions.Table) error { return install(m, t, slot, content) }, false, 16},
		{"the slot comes first", func(m machine, t *partitions.Table) error { return arm(m, t, slot) }, true, 1},
		{"a try is taken", func(m machine, t *partitions.Table) error {
			if p, _ := t.Partition(slot); p.Attributes.Tries() == 0 {
				return nil // it was taken before the power failed
			}
			return partitions.UseTry(m, t, slot)
		}, true, 1},
		{"the slot is good", attributes(slot, good), true, 1},
		{"stage 1 is refreshed", func(m machine, t *partitions.Table) error {
			esp := m.section(t, espNumber)
			_, err := fat.Replace(esp, esp.size, fat.Replacement{
				Path: bootFile, Content: bytes.NewReader(content), Size: bootSize,
			})
			return err
		}, false, 40},
	}
}

// install writes a slot, in pieces and with a sync now and then.
func install(m machine, t *partitions.Table, slot int, content []byte) error {
	const piece = 4 << 10
	for at := 0; at < len(content); at += piece {
		if _, err := m.section(t, slot).WriteAt(content[at:at+piece], int64(at)); err != nil {
			return err
		}
		if at/piece%3 == 2 {
			if err := m.Sync(); err != nil {
				return err
			}
		}
	}
	return m.Sync()
}

// arm gives a slot one try and puts it before the others, in one update.
func arm(m machine, t *partitions.Table, slot int) error {
	p, _ := t.Partition(slot)
	if p.Attributes.Priority() > 0 {
		return nil // it was done before the power failed
	}
	changes, err := partitions.Prioritize(t.Slots(), partitions.Ranking{First: slot})
	if err != nil {
		return err
	}
	changes[slot] = changes[slot].WithTries(1).WithSuccessful(false)
	return partitions.Update(m, t, partitions.Change{Attributes: changes})
}

// repair mends the table and lets ROOT grow.
func repair() step {
	return step{"the table is mended", func(m machine, t *partitions.Table) error {
		return partitions.Grow(m, t, rootNumber)
	}, true, 1}
}

// spoil destroys a part of the table on a machine that runs.
func spoil(name string, lba, n int64) step {
	return step{name + " is destroyed", func(m machine, _ *partitions.Table) error {
		if lba < 0 {
			lba += m.size / m.sectorSize
		}
		if _, err := m.WriteAt(make([]byte, n*m.sectorSize), lba*m.sectorSize); err != nil {
			return err
		}
		return m.Sync()
	}, true, 16}
}

// firstDisk is a machine's disk as installed: version 1 in USR-A.
func firstDisk(t *testing.T, sectorSize int64) *powercut.Disk {
	t.Helper()
	l := layout(sectorSize)
	d := powercut.New(l.DiskSize())
	require.NoError(t, partitions.Create(d, d.Size(), l))
	m := machine{d, d.Size(), sectorSize}
	table, err := m.table()
	require.NoError(t, err)
	require.NoError(t, install(m, table, slotA, version(1)))

	files := tree.New()
	for name, content := range map[string][]byte{
		bootFile: version(1)[:bootSize], "EFI/slipway/grub.cfg": []byte("set timeout=0\n"),
	} {
		require.NoError(t, files.Set(name, &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(content)}))
	}
	esp := m.section(table, espNumber)
	require.NoError(t, fat.Write(esp, esp.size, files, &fat.Options{Time: 1_700_000_000}))
	return d
}

// Two whole changes, from A to B and from B to A, with damage to the table in
// between, cut at every place: the table can be read and is the one before or
// the one after, a slot can be booted, every slot that can has whole content,
// the boot file is the one before or the one after; and what was cut off, done
// again, ends where it would have ended.
func TestPowerCutsDuringAWholeChange(t *testing.T) {
	for _, sectorSize := range []int64{512, 4096} {
		t.Run(fmt.Sprint(sectorSize), func(t *testing.T) {
			array := 128 * 128 / sectorSize
			steps := slices.Concat(
				changeover(slotB, version(2)),
				[]step{spoil("the primary table", 1, 1+array), repair()},
				changeover(slotA, version(3)),
				[]step{spoil("the backup table", -1-array, 1+array), repair()},
			)
			c := changes{t: t, seen: map[[16]byte]bool{}, sectorSize: sectorSize}
			disk := firstDisk(t, sectorSize)
			for i, s := range steps {
				disk = c.cut(fmt.Sprintf("step %d, %s", i, s.name), s, disk)
			}
			t.Logf("%d distinct states, %d of them done again", len(c.seen), c.again)
			assert.GreaterOrEqual(t, len(c.seen), 10_000)
			m := machine{disk, disk.Size(), sectorSize}
			table, err := m.table()
			require.NoError(t, err)
			n, _ := partitions.Next(table)
			assert.Equal(t, slotA, n, "the machine runs from")
			boots, err := m.boots(table)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(version(3)[:bootSize], boots))
		})
	}
}

// The same change on a disk larger than its image, whose backup table is
// somewhere in the middle until the end.
func TestPowerCutsDuringAChangeOnAGrownDisk(t *testing.T) {
	c := changes{t: t, seen: map[[16]byte]bool{}, sectorSize: 512, grown: true}
	small := firstDisk(t, 512)
	disk := powercut.Over(small, small.Size()+5<<20)
	for i, s := range append(changeover(slotB, version(2)), repair()) {
		if !s.table || s.name == "the table is mended" {
			s.every *= 4
		}
		disk = c.cut(fmt.Sprintf("step %d, %s", i, s.name), s, disk)
	}
	t.Logf("%d distinct states, %d of them done again", len(c.seen), c.again)
}

// changes goes through the cuts of steps.
type changes struct {
	t          *testing.T
	seen       map[[16]byte]bool
	sectorSize int64
	grown      bool
	again      int
}

// outcome is what a step changes.
type outcome struct {
	table *partitions.Table
	boots []byte
}

func (c *changes) outcome(d *powercut.Disk) outcome {
	m := machine{d, d.Size(), c.sectorSize}
	table, err := m.table()
	require.NoError(c.t, err)
	boots, err := m.boots(table)
	require.NoError(c.t, err)
	return outcome{table, boots}
}

// cut does one step, cut at every place, and returns the disk after it.
func (c *changes) cut(name string, s step, disk *powercut.Disk) *powercut.Disk {
	before := c.outcome(disk)
	rec := powercut.Record(disk)
	c.do(name, s, rec)
	after := c.outcome(rec.Disk)
	n := 0
	for state := range rec.States(powercut.Options{Seed: 1, Random: 700, Seen: c.seen}) {
		c.check(name, s, state, before, after)
		if n++; n%s.every != 0 {
			continue
		}
		c.again++
		again := powercut.Record(state.Disk)
		c.do(name+", again", s, again)
		got := c.outcome(again.Disk)
		require.Equal(c.t, after.table.Partitions, got.table.Partitions, "%s, again after %s", name, state)
		require.True(c.t, bytes.Equal(after.boots, got.boots), "%s, again after %s", name, state)
		c.bootable(name, state, again.Disk, got.table)
	}
	return rec.Disk
}

// do does a step and looks where it writes.
func (c *changes) do(name string, s step, rec *powercut.Recorder) {
	m := machine{rec, rec.Size(), c.sectorSize}
	table, err := m.table()
	require.NoError(c.t, err, name)
	before := *table
	require.NoError(c.t, s.run(m, table), name)
	scale := c.sectorSize / powercut.Sector
	end := (2 + 128*128/c.sectorSize) * scale // 34 sectors of 512 bytes
	for _, lba := range rec.Sectors() {
		table := lba >= scale && lba < end || lba > rec.Size()/powercut.Sector-end
		for _, p := range before.Partitions {
			inside := lba >= p.Start*scale && lba <= p.End()*scale
			if s.table && (inside || !table && !c.grown) || !s.table && table {
				c.t.Fatalf("%s: sector %d was written", name, lba)
			}
		}
	}
}

// check looks at what a cut left.
func (c *changes) check(name string, s step, state powercut.State, before, after outcome) {
	m := machine{state, state.Size(), c.sectorSize}
	table, err := m.table()
	if err != nil {
		c.t.Fatalf("%s, %s: %v", name, state, err)
	}
	if !slices.Equal(table.Partitions, before.table.Partitions) &&
		!slices.Equal(table.Partitions, after.table.Partitions) {
		c.t.Fatalf("%s, %s: neither the old nor the new table: %v", name, state, table.Partitions)
	}
	c.bootable(name, state, state.Disk, table)
	if bytes.Equal(before.boots, after.boots) {
		return
	}
	boots, err := m.boots(table)
	if err != nil || !bytes.Equal(boots, before.boots) && !bytes.Equal(boots, after.boots) {
		c.t.Fatalf("%s, %s: boot file of %d bytes is neither the old nor the new one: %v", name, state, len(boots), err)
	}
}

// bootable looks at all slots in the order they would be booted in.
func (c *changes) bootable(name string, state powercut.State, d *powercut.Disk, table *partitions.Table) {
	m := machine{d, d.Size(), c.sectorSize}
	var tried []int
	for {
		n, ok := partitions.Next(table, tried...)
		if !ok {
			break
		}
		if tried = append(tried, n); !m.whole(table, n) {
			c.t.Fatalf("%s, %s: slot %d may be booted and is not whole", name, state, n)
		}
	}
	if len(tried) == 0 {
		c.t.Fatalf("%s, %s: no slot to boot: %v", name, state, table.Slots())
	}
}
