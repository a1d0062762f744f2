package partitions_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// onlyTable asserts that nothing but the table's own places was written: the
// header and the array of either copy, in sectors of that size.
func onlyTable(t *testing.T, r *powercut.Recorder, sectorSize int64) {
	t.Helper()
	copySize := sectorSize + 128*128
	for _, lba := range r.Sectors() {
		off := lba * powercut.Sector
		if off < sectorSize || off >= sectorSize+copySize && off < r.Size()-copySize {
			t.Fatalf("byte %d of %d was written", off, r.Size())
		}
	}
}

// step is one thing that happens to the disk between two states of its life.
type step struct {
	name string
	run  func(partitions.Device, *partitions.Table) error
	// content says that the step writes into a slot.
	content bool
}

func set(number, priority, tries int, successful bool) func(partitions.Device, *partitions.Table) error {
	return func(d partitions.Device, t *partitions.Table) error {
		return partitions.SetAttributes(d, t, number, partitions.Slot(priority, tries, successful))
	}
}

// stamps is how many sectors stand for the content of a slot.
const stamps = 7

// install writes a version into a slot, a few sectors at a time.
func install(number int, version byte) func(partitions.Device, *partitions.Table) error {
	return func(d partitions.Device, t *partitions.Table) error {
		p, _ := t.Partition(number)
		for i := range int64(stamps) {
			off := p.Start*int64(t.SectorSize) + i*512
			if _, err := d.WriteAt(bytes.Repeat([]byte{version}, 512), off); err != nil {
				return err
			}
			if i == 3 {
				if err := d.Sync(); err != nil {
					return err
				}
			}
		}
		return d.Sync()
	}
}

// whole says whether a slot holds one version and nothing else.
func whole(t *testing.T, d *powercut.Disk, offset int64) bool {
	t.Helper()
	b := make([]byte, stamps*512)
	_, err := d.ReadAt(b, offset)
	require.NoError(t, err)
	return b[0] != 0 && bytes.Equal(b, bytes.Repeat(b[:1], len(b)))
}

// changeover is the life of an update: B is written, made bootable, tried,
// found good; then A is updated and fails.
func changeover() []step {
	use := func(number int) func(partitions.Device, *partitions.Table) error {
		return func(d partitions.Device, t *partitions.Table) error { return partitions.UseTry(d, t, number) }
	}
	grow := func(d partitions.Device, t *partitions.Table) error { return partitions.Grow(d, t, 9) }
	return []step{
		{"B must not be booted", set(4, 0, 0, false), false},
		{"B is written", install(4, 2), true},
		{"B may be tried", set(4, 2, 1, false), false},
		{"B is tried", use(4), false},
		{"B is good", set(4, 2, 0, true), false},
		{"A must not be booted", set(3, 0, 0, false), false},
		{"A is written", install(3, 3), true},
		{"A may be tried", set(3, 3, 2, false), false},
		{"A is tried", use(3), false},
		{"A is tried again", use(3), false},
		{"A is given up", set(3, 0, 0, false), false},
		{"the table is repaired", partitions.Repair, false},
		{"ROOT grows", grow, false},
	}
}

// damage spoils disks with sectors of that size in every way that a step may
// have to start from.
func damage(t testing.TB, sectorSize int64) map[string]func(*powercut.Disk) {
	n := sectorSize / powercut.Sector
	array := 128 * 128 / sectorSize * n
	header, entries := n, 2*n
	backup := func(d *powercut.Disk) int64 { return d.Size()/powercut.Sector - n }
	return map[string]func(*powercut.Disk){
		"nothing":         func(*powercut.Disk) {},
		"primary header":  func(d *powercut.Disk) { d.Zero(header, n) },
		"primary entries": func(d *powercut.Disk) { d.Zero(entries, 1) },
		"primary":         func(d *powercut.Disk) { d.Zero(header, n+array) },
		"backup header":   func(d *powercut.Disk) { d.Zero(backup(d), n) },
		"backup entries":  func(d *powercut.Disk) { d.Zero(backup(d)-array, 1) },
		"backup":          func(d *powercut.Disk) { d.Zero(backup(d)-array, n+array) },
		"crosswise": func(d *powercut.Disk) {
			d.Zero(header, n)
			d.Zero(backup(d)-array, 1)
		},
		"headers swapped between states": func(d *powercut.Disk) {
			edit(t, d, header, func(h []byte) {
				h[88] ^= 1 // the primary header describes another array
				reseal(h)
			})
			d.Zero(backup(d)-array, 1)
		},
		"crosswise the other way": func(d *powercut.Disk) {
			d.Zero(entries, 1)
			d.Zero(backup(d), n)
		},
	}
}

// layouts are the default layout in sectors of both sizes.
func layouts() []partitions.Layout {
	small, large := partitions.DefaultLayout(ids()), partitions.DefaultLayout(ids())
	large.SectorSize, large.DiskSectors, large.Alignment = 4096, large.DiskSectors/8, 512
	for i := range large.Partitions {
		large.Partitions[i].Start /= 8
		large.Partitions[i].Size /= 8
	}
	root := &large.Partitions[len(large.Partitions)-1]
	root.Size = large.DiskSectors - 6 - root.Start + 1
	return []partitions.Layout{small, large}
}

func readAs(t testing.TB, d *powercut.Disk, sectorSize int) *partitions.Table {
	t.Helper()
	table, err := partitions.Read(d, d.Size(), sectorSize)
	require.NoError(t, err)
	return table
}

// Every step of a changeover, started from every kind of damage, cut at every
// place, and started again and cut at every place once more: the table is
// always readable, it is the one before or the one after, and a slot with
// whole content can be booted.
func TestPowerCutsDuringChangeover(t *testing.T) {
	for _, l := range layouts() {
		states := 0
		for what, spoil := range damage(t, int64(l.SectorSize)) {
			disk := create(t, l)
			require.NoError(t, install(3, 1)(disk, readAs(t, disk, l.SectorSize)))
			for _, s := range changeover() {
				spoil(disk)
				c := cutter{t: t, name: s.name + " with bad " + what, step: s, before: readAs(t, disk, l.SectorSize)}
				r := powercut.Record(disk)
				require.NoError(t, s.run(r, readAs(t, disk, l.SectorSize)), c.name)
				c.after = readAs(t, r.Disk, l.SectorSize)
				c.visit(r, 1)
				states += c.states
				disk = r.Disk
			}
		}
		t.Logf("%d states with sectors of %d bytes", states, l.SectorSize)
		assert.Greater(t, states, 10_000)
	}
}

// cutter goes through the cuts of one step and of its repetitions.
type cutter struct {
	t             *testing.T
	name          string
	step          step
	before, after *partitions.Table
	states        int
}

func (c *cutter) visit(r *powercut.Recorder, depth int) {
	size := c.before.SectorSize
	if !c.step.content {
		onlyTable(c.t, r, int64(size))
	}
	for s := range r.States(powercut.Options{}) {
		c.states++
		now := checkCut(c.t, s.Disk, c.name, c.before, c.after)
		if depth == 0 {
			continue
		}
		again := powercut.Record(s.Disk)
		require.NoError(c.t, c.redo(again, now), c.name)
		require.Equal(c.t, c.after.Partitions, readAs(c.t, again.Disk, size).Partitions, c.name)
		c.visit(again, depth-1)
	}
}

// redo does the step on a table that may be the one before or after it.
func (c *cutter) redo(d partitions.Device, now *partitions.Table) error {
	if c.step.content {
		return c.step.run(d, now)
	}
	change := partitions.Change{Attributes: map[int]partitions.Attributes{}, Fit: true}
	for _, p := range c.after.Partitions {
		change.Attributes[p.Number] = p.Attributes
	}
	return partitions.Update(d, now, change)
}

// checkCut reads the table that a cut left, which must be the one before or
// the one after, and looks at all slots that may be booted.
func checkCut(t *testing.T, d *powercut.Disk, name string, before, after *partitions.Table) *partitions.Table {
	t.Helper()
	table, err := partitions.Read(d, d.Size(), before.SectorSize)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !slices.Equal(table.Partitions, before.Partitions) && !slices.Equal(table.Partitions, after.Partitions) {
		t.Fatalf("%s: neither the old nor the new table: %v", name, table.Partitions)
	}
	for tried := []int{}; ; {
		n, ok := partitions.Next(table, tried...)
		if !ok && len(tried) == 0 {
			t.Fatalf("%s: no slot to boot: %v", name, table.Slots())
		}
		if !ok {
			return table
		}
		tried = append(tried, n)
		if p, _ := table.Partition(n); !whole(t, d, p.Start*int64(table.SectorSize)) {
			t.Fatalf("%s: slot %d is bootable and not whole", name, n)
		}
	}
}
