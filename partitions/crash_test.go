package partitions_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// recorder is a disk that remembers every write, sector by sector, and every
// sync.
type recorder struct {
	*memory
	start *memory
	// epochs are the sectors written between two syncs, in order.
	epochs [][]sectorWrite
}

type sectorWrite struct {
	lba  int64
	data [512]byte
}

func record(m *memory) *recorder {
	return &recorder{memory: m.clone(), start: m, epochs: [][]sectorWrite{nil}}
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.memory.WriteAt(p, off)
	last := len(r.epochs) - 1
	for lba := off / 512; lba*512 < off+int64(n); lba++ {
		r.epochs[last] = append(r.epochs[last], sectorWrite{lba, r.memory.sectors[lba]})
	}
	return n, err
}

func (r *recorder) Sync() error {
	r.epochs = append(r.epochs, nil)
	return nil
}

// written are the numbers of all sectors written.
func (r *recorder) written() []int64 {
	var list []int64
	for _, w := range slices.Concat(r.epochs...) {
		list = append(list, w.lba)
	}
	return list
}

// cuts calls visit with every disk a power cut can leave: everything up to a
// sync, and any selection of the sectors written after it, which covers torn,
// reordered and dropped writes. Up to 10 sectors every selection is visited,
// beyond that all prefixes, suffixes, single sectors, single gaps and some
// random selections.
func (r *recorder) cuts(visit func(*memory)) (states int) {
	base := r.start.clone()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, epoch := range r.epochs {
		for chosen := range selections(len(epoch), rng) {
			m := base.clone()
			for i, w := range epoch {
				if chosen(i) {
					m.put(w.lba, w.data)
				}
			}
			visit(m)
			states++
		}
		for _, w := range epoch {
			base.put(w.lba, w.data)
		}
	}
	return states
}

func selections(n int, rng *rand.Rand) func(yield func(func(int) bool) bool) {
	return func(yield func(func(int) bool) bool) {
		if n <= 10 {
			for mask := range 1 << n {
				if !yield(func(i int) bool { return mask>>i&1 == 1 }) {
					return
				}
			}
			return
		}
		for k := range n + 1 {
			for _, f := range []func(int) bool{
				func(i int) bool { return i < k },
				func(i int) bool { return i >= k },
				func(i int) bool { return i == k },
				func(i int) bool { return i != k },
			} {
				if !yield(f) {
					return
				}
			}
		}
		for range 64 {
			bits := rng.Uint64()
			if !yield(func(i int) bool { return bits>>(i%64)&1 == 1 }) {
				return
			}
		}
	}
}

// onlyTable asserts that nothing but the table's own places was written.
func onlyTable(t *testing.T, r *recorder) {
	t.Helper()
	sectors := r.size / 512
	for _, lba := range r.written() {
		if lba < 1 || lba >= 34 && lba < sectors-33 {
			t.Fatalf("sector %d of %d was written", lba, sectors)
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
			if _, err := d.WriteAt(bytes.Repeat([]byte{version}, 512), (p.Start+i)*512); err != nil {
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
func whole(m *memory, p partitions.Partition) bool {
	first := m.sectors[p.Start]
	for i := range int64(stamps) {
		if m.sectors[p.Start+i] != first || first[0] == 0 {
			return false
		}
	}
	return true
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

// damage makes the disks a step may have to start from.
func damage() map[string]func(*memory) {
	return map[string]func(*memory){
		"nothing":         func(*memory) {},
		"primary header":  func(m *memory) { m.zero(1, 1) },
		"primary entries": func(m *memory) { m.zero(2, 1) },
		"primary":         func(m *memory) { m.zero(1, 33) },
		"backup header":   func(m *memory) { m.zero(m.size/512-1, 1) },
		"backup entries":  func(m *memory) { m.zero(m.size/512-33, 1) },
		"backup":          func(m *memory) { m.zero(m.size/512-33, 33) },
		"crosswise": func(m *memory) {
			m.zero(1, 1)
			m.zero(m.size/512-33, 1)
		},
		"headers swapped between states": func(m *memory) {
			h := m.sectors[1]
			h[88] ^= 1 // the primary header describes another array
			reseal(&h)
			m.sectors[1] = h
			m.zero(m.size/512-33, 1)
		},
		"crosswise the other way": func(m *memory) {
			m.zero(2, 1)
			m.zero(m.size/512-1, 1)
		},
	}
}

// Every step of a changeover, started from every kind of damage, cut at every
// place, and started again and cut at every place once more: the table is
// always readable, it is the one before or the one after, and a slot with
// whole content can be booted.
func TestPowerCutsDuringChangeover(t *testing.T) {
	states := 0
	for what, spoil := range damage() {
		disk := defaultDisk(t)
		require.NoError(t, install(3, 1)(disk, mustRead(t, disk)))
		for _, s := range changeover() {
			spoil(disk)
			c := cutter{t: t, name: s.name + " with bad " + what, step: s, before: mustRead(t, disk)}
			r := record(disk)
			require.NoError(t, s.run(r, mustRead(t, disk)), c.name)
			c.after = mustRead(t, r.memory)
			c.visit(r, 1)
			states += c.states
			disk = r.memory
		}
	}
	t.Logf("%d states", states)
	assert.Greater(t, states, 10_000)
}

// cutter goes through the cuts of one step and of its repetitions.
type cutter struct {
	t             *testing.T
	name          string
	step          step
	before, after *partitions.Table
	states        int
}

func (c *cutter) visit(r *recorder, depth int) {
	if !c.step.content {
		onlyTable(c.t, r)
	}
	c.states += r.cuts(func(m *memory) {
		now := checkCut(c.t, m, c.name, c.before.Partitions, c.after.Partitions)
		if depth == 0 {
			return
		}
		again := record(m)
		require.NoError(c.t, c.redo(again, now), c.name)
		require.Equal(c.t, c.after.Partitions, mustRead(c.t, again.memory).Partitions, c.name)
		c.visit(again, depth-1)
	})
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

func checkCut(t *testing.T, m *memory, name string, old, new []partitions.Partition) *partitions.Table {
	t.Helper()
	table, err := partitions.Read(m, m.size, 512)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !slices.Equal(table.Partitions, old) && !slices.Equal(table.Partitions, new) {
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
		if p, _ := table.Partition(n); !whole(m, p) {
			t.Fatalf("%s: slot %d is bootable and not whole", name, n)
		}
	}
}

// A disk grows by one sector up to more than a whole backup table, so that
// the new backup overlaps the old one in every way.
func TestPowerCutsDuringGrowth(t *testing.T) {
	states := 0
	for _, by := range []int64{1, 2, 31, 32, 33, 34, 65, 66, 67, 1 << 21} {
		for what, spoil := range map[string]func(m, small *memory){
			"nothing":         func(m, small *memory) {},
			"primary entries": func(m, small *memory) { m.zero(2, 1) },
			"primary header":  func(m, small *memory) { h := m.sectors[1]; h[16] ^= 1; m.sectors[1] = h },
			"backup header":   func(m, small *memory) { m.zero(small.size/512-1, 1) },
			"backup entries":  func(m, small *memory) { m.zero(small.size/512-33, 1) },
		} {
			name := fmt.Sprintf("%d sectors more, bad %s", by, what)
			small := defaultDisk(t)
			require.NoError(t, install(3, 1)(small, mustRead(t, small)))
			disk := small.clone()
			disk.size += by * 512
			spoil(disk, small)
			table := mustRead(t, disk)
			require.True(t, table.Damaged(), name)
			before := table.Partitions

			r := record(disk)
			require.NoError(t, partitions.Grow(r, table, 9), name)
			require.False(t, table.Damaged(), name)
			root, _ := table.Partition(9)
			require.Equal(t, disk.size/512-34, root.End(), name)
			assertOutsidePartitions(t, r, before)

			states += r.cuts(func(m *memory) {
				now := checkCut(t, m, name, before, table.Partitions)
				again := record(m)
				require.NoError(t, partitions.Grow(again, now, 9), name)
				require.Equal(t, table.Partitions, now.Partitions, name)
				require.False(t, now.Damaged(), name)
				states += again.cuts(func(m *memory) { checkCut(t, m, name+", again", before, table.Partitions) })
			})
		}
	}
	t.Logf("%d states", states)
}

func assertOutsidePartitions(t *testing.T, r *recorder, parts []partitions.Partition) {
	t.Helper()
	for _, lba := range r.written() {
		for _, p := range parts {
			if lba == 0 || lba >= p.Start && lba <= p.End() {
				t.Fatalf("sector %d of partition %d was written", lba, p.Number)
			}
		}
	}
}

func TestSetAttributesTouchesTwoSectorsOfEachCopy(t *testing.T) {
	disk := defaultDisk(t)
	last := disk.size/512 - 1
	r := record(disk)
	table := mustRead(t, disk)
	require.NoError(t, partitions.SetAttributes(r, table, 6, 1))
	assert.Equal(t, []int64{last - 31, last, 3, 1}, r.written(), "backup first, the one sector with entries 5 to 8")
	assert.Len(t, r.epochs, 3, "two syncs")

	r = record(r.memory)
	require.NoError(t, partitions.SetAttributes(r, table, 6, 1))
	assert.Empty(t, r.written(), "nothing to change")
}

func TestUpdateRefusesATableThatChanged(t *testing.T) {
	disk := defaultDisk(t)
	stale, table := mustRead(t, disk), mustRead(t, disk)
	require.NoError(t, partitions.SetAttributes(disk, table, 4, partitions.Slot(2, 1, false)))
	r := record(disk)
	assert.ErrorIs(t, partitions.SetAttributes(r, stale, 3, 0), partitions.ErrChanged)
	assert.Empty(t, r.written())
}

func TestUpdateErrorsWriteNothing(t *testing.T) {
	id := uuid.MustParse("11111111-2222-3333-4444-555555555555")
	data := uuid.MustParse(partitions.TypeLinuxData)
	tests := []struct {
		name    string
		change  partitions.Change
		wantErr string
	}{
		{"missing", partitions.Change{Attributes: map[int]partitions.Attributes{5: 1}}, "partition 5: not in the table"},
		{"remove missing", partitions.Change{Remove: []int{300}}, "partition 300: not in the table"},
		{
			"overlap", partitions.Change{Put: []partitions.Partition{{Number: 5, Type: data, UUID: id, Start: 4096, Size: 8}}},
			"partitions 1 and 5 overlap",
		},
		{
			"outside", partitions.Change{Put: []partitions.Partition{{Number: 5, Type: data, UUID: id, Start: 33, Size: 8}}},
			"partition 5: sectors 33 to 40 are not within 34 to 16777182",
		},
		{
			"number", partitions.Change{Put: []partitions.Partition{{Number: 129, Type: data, UUID: id, Start: 40, Size: 8}}},
			"partition 129: number is not within 1 to 128",
		},
		{
			"label", partitions.Change{Put: []partitions.Partition{{
				Number: 5, Type: data, UUID: id, Start: 40, Size: 8,
				Label: "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀a",
			}}},
			`partition 5: label "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀a" has 37 UTF-16 units, at most 36 fit`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := record(defaultDisk(t))
			err := partitions.Update(r, mustRead(t, r.memory), tt.change)
			assert.EqualError(t, err, tt.wantErr)
			assert.Empty(t, r.written())
		})
	}
}

// A header whose checksum is right but whose backup would lie inside a
// partition must not make anything write there.
func TestBackupIsNeverWrittenIntoAPartition(t *testing.T) {
	disk := defaultDisk(t)
	h := disk.sectors[1]
	binary.LittleEndian.PutUint64(h[32:], 5_000_000)
	reseal(&h)
	disk.sectors[1] = h
	disk.zero(disk.size/512-1, 1)
	table := mustRead(t, disk)
	r := record(disk)
	require.NoError(t, partitions.SetAttributes(r, table, 4, partitions.Slot(2, 1, false)))
	onlyTable(t, r)
	assert.False(t, mustRead(t, r.memory).Damaged())
}
