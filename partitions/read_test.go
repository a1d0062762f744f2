package partitions_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// reseal makes a header's checksum right again.
func reseal(h *[512]byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestReadSurvivesEveryDamage(t *testing.T) {
	want := mustRead(t, defaultDisk(t))
	for name, spoil := range damage() {
		t.Run(name, func(t *testing.T) {
			disk := defaultDisk(t)
			spoil(disk)
			table := mustRead(t, disk)
			assert.Equal(t, want.Partitions, table.Partitions)
			assert.Equal(t, want.DiskUUID, table.DiskUUID)
			assert.Equal(t, name != "nothing", table.Damaged())

			require.NoError(t, partitions.Repair(disk, table))
			assert.Equal(t, defaultDisk(t), disk)
		})
	}
}

// Every byte of either copy flipped on its own leaves the table readable and
// Repair makes it what it was.
func TestReadSurvivesEveryFlippedByte(t *testing.T) {
	good := defaultDisk(t)
	want := mustRead(t, good)
	last := good.size/512 - 1
	for _, lba := range []int64{1, 2, 3, 4, last - 32, last - 31, last - 30, last} {
		for i := range 512 {
			disk := good.clone()
			s := disk.sectors[lba]
			s[i] ^= 0x41
			disk.sectors[lba] = s
			table := mustRead(t, disk)
			if !assert.Equal(t, want.Partitions, table.Partitions, "sector %d byte %d", lba, i) {
				return
			}
		}
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct {
		name    string
		size    int64
		sector  int
		spoil   func(*memory)
		wantErr string
	}{
		{"empty disk", 1 << 20, 512, nil, "no partition table: primary: no header at sector 1; backup: no header at sector 2047"},
		{"no disk", 0, 512, nil, "no partition table: disk is 0 bytes"},
		{"sector size", 1 << 20, 520, nil, "sector size is 520, want 512 or 4096"},
		{
			"both headers", 8 << 30, 512, func(m *memory) { m.zero(1, 1); m.zero(m.size/512-1, 1) },
			"no partition table: primary: no header at sector 1; backup: no header at sector 16777215",
		},
		{
			"cut off", 4 << 30, 512, func(m *memory) {},
			"no partition table: primary: header at sector 1: usable sectors are 34 to 16777182 on a disk of 8388608; " +
				"backup: no header at sector 8388607",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(tt.size)
			if tt.spoil != nil {
				m = defaultDisk(t)
				tt.spoil(m)
				m.size = tt.size
			}
			_, err := partitions.Read(m, tt.size, tt.sector)
			assert.EqualError(t, err, tt.wantErr)
		})
	}
}

func TestReadPrefersThePrimaryOfTwoGoodCopies(t *testing.T) {
	disk := defaultDisk(t)
	r := record(disk)
	require.NoError(t, partitions.SetAttributes(r, mustRead(t, disk), 4, partitions.Slot(2, 1, false)))
	for _, w := range r.epochs[0] {
		disk.put(w.lba, w.data) // the backup is new, the primary is old
	}
	table := mustRead(t, disk)
	p, _ := table.Partition(4)
	assert.Equal(t, partitions.Slot(0, 0, false), p.Attributes)
	assert.True(t, table.Damaged())
	require.NoError(t, partitions.Repair(disk, table))
	assert.Equal(t, defaultDisk(t), disk)
}

func TestReadFindsTheBackupOfADiskThatGrew(t *testing.T) {
	disk := defaultDisk(t)
	disk.size += 1 << 30
	h := disk.sectors[1]
	h[60] ^= 1 // the checksum is wrong now, what it says of the backup is not
	disk.sectors[1] = h
	table := mustRead(t, disk)
	assert.True(t, table.Grown())
	assert.Error(t, table.Primary.HeaderErr)
	assert.Len(t, table.Partitions, 7)
}

func TestRead4096(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	l.SectorSize, l.DiskSectors, l.Alignment = 4096, l.DiskSectors/8, 512
	for i := range l.Partitions {
		l.Partitions[i].Start /= 8
		l.Partitions[i].Size /= 8
	}
	root := &l.Partitions[len(l.Partitions)-1]
	root.Size = l.DiskSectors - 5 - root.Start
	disk := newMemory(l.DiskSize())
	require.NoError(t, partitions.Create(disk, disk.size, l))
	for _, sectorSize := range []int{4096, 0} {
		table, err := partitions.Read(disk, disk.size, sectorSize)
		require.NoError(t, err)
		assert.Equal(t, l.Partitions, table.Partitions)
		assert.False(t, table.Damaged())
		assert.Equal(t, 4096, table.SectorSize)
	}

	disk.size += 1 << 20
	table, err := partitions.Read(disk, disk.size, 4096)
	require.NoError(t, err)
	require.NoError(t, partitions.Grow(disk, table, 9))
	grown, _ := table.Partition(9)
	assert.Equal(t, root.Size+256, grown.Size)
	assert.False(t, table.Damaged())
}

// small makes a disk that is as small as can be, for the fuzzer.
func small(t testing.TB) *memory {
	slot := uuid.MustParse(partitions.TypeUSR)
	l := partitions.Layout{
		SectorSize: 512, DiskSectors: 128, DiskUUID: ids()("disk"),
		Partitions: []partitions.Partition{
			{Number: 1, Label: "USR-A", Type: slot, UUID: ids()("A"), Start: 40, Size: 8, Attributes: partitions.Slot(1, 0, true)},
			{Number: 3, Label: "USR-B", Type: slot, UUID: ids()("B"), Start: 48, Size: 8, Attributes: partitions.Slot(2, 1, false)},
		},
	}
	m := newMemory(l.DiskSize())
	require.NoError(t, partitions.Create(m, m.size, l))
	return m
}

// FuzzRead checks that no disk makes Read panic or ask for much memory, and
// that whatever it accepts can be repaired into an equal, undamaged table
// without a write into a partition. The input is the headers and the first
// sector of each array; with seal their checksums are made right, so that the
// fuzzer gets past them.
func FuzzRead(f *testing.F) {
	m := small(f)
	header := func(lba int64) []byte { s := m.sectors[lba]; return bytes.Clone(s[:92]) }
	array := m.sectors[2]
	for _, sectors := range []uint16{128, 129, 60, 200} {
		f.Add(header(1), header(127), array[:], array[:], sectors, false)
		f.Add(header(1), header(127), array[:], array[:128], sectors, true)
		f.Add(header(127), header(1), array[:], []byte{}, sectors, true)
	}
	f.Fuzz(func(t *testing.T, primary, backup, first, second []byte, sectors uint16, seal bool) {
		m := newMemory(int64(sectors) * 512)
		last := int64(sectors) - 1
		for lba, b := range map[int64][]byte{1: primary, 2: first, last - 32: second, last: backup} {
			if lba > 0 && lba <= last {
				var s [512]byte
				copy(s[:], b)
				m.put(lba, s)
			}
		}
		if seal {
			sealCopy(m, 1)
			sealCopy(m, last)
		}
		table, err := partitions.Read(m, m.size, 512)
		if err != nil {
			return
		}
		before := table.Partitions
		n, ok := partitions.Next(table)
		r := record(m)
		if err := partitions.Repair(r, table); err != nil {
			require.Empty(t, r.written(), "%v", err)
			return
		}
		assertOutsidePartitions(t, r, before)
		require.False(t, table.Damaged())
		require.Equal(t, before, table.Partitions)
		n2, ok2 := partitions.Next(table)
		require.Equal(t, n, n2)
		require.Equal(t, ok, ok2)
	})
}

// sealCopy makes the checksums of the copy whose header is at lba right.
func sealCopy(m *memory, lba int64) {
	if lba < 1 {
		return
	}
	h := m.sectors[lba]
	le := binary.LittleEndian
	start, n := le.Uint64(h[72:]), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
	if start < 1<<16 && n <= 1<<16 {
		array := make([]byte, n)
		_, _ = m.ReadAt(array, int64(start)*512)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
	}
	reseal(&h)
	m.put(lba, h)
}
