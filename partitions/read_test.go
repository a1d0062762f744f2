package partitions_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// reseal makes a header's checksum right again.
func reseal(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestReadSurvivesEveryDamage(t *testing.T) {
	want := mustRead(t, defaultDisk(t))
	for name, spoil := range damage(t, 512) {
		t.Run(name, func(t *testing.T) {
			disk := defaultDisk(t)
			spoil(disk)
			table := mustRead(t, disk)
			assert.Equal(t, want.Partitions, table.Partitions)
			assert.Equal(t, want.DiskUUID, table.DiskUUID)
			assert.Equal(t, name != "nothing", table.Damaged())

			require.NoError(t, partitions.Repair(disk, table))
			assert.Equal(t, defaultDisk(t).Digest(), disk.Digest())
		})
	}
}

// Every byte of either copy flipped on its own leaves the table readable and
// Repair makes it what it was.
func TestReadSurvivesEveryFlippedByte(t *testing.T) {
	good := defaultDisk(t)
	want := mustRead(t, good)
	last := last(good)
	for _, lba := range []int64{1, 2, 3, 4, last - 32, last - 31, last - 30, last} {
		for i := range 512 {
			disk := good.Clone()
			edit(t, disk, lba, func(b []byte) { b[i] ^= 0x41 })
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
		spoil   func(*powercut.Disk)
		wantErr string
	}{
		{"empty disk", 1 << 20, 512, nil, "no partition table: primary: no header at sector 1; backup: no header at sector 2047"},
		{"no disk", 0, 512, nil, "no partition table: disk is 0 bytes"},
		{"sector size", 1 << 20, 520, nil, "sector size is 520, want 512 or 4096"},
		{
			"both headers", 8 << 30, 512, func(d *powercut.Disk) { d.Zero(1, 1); d.Zero(last(d), 1) },
			"no partition table: primary: no header at sector 1; backup: no header at sector 16777215",
		},
		{
			"cut off", 4 << 30, 512, func(*powercut.Disk) {},
			"no partition table: primary: header at sector 1: usable sectors are 34 to 16777182 on a disk of 8388608; " +
				"backup: no header at sector 8388607",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := powercut.New(tt.size)
			if tt.spoil != nil {
				full := defaultDisk(t)
				tt.spoil(full)
				m = powercut.Over(full, tt.size)
			}
			_, err := partitions.Read(m, tt.size, tt.sector)
			assert.EqualError(t, err, tt.wantErr)
		})
	}
}

func TestReadPrefersThePrimaryOfTwoGoodCopies(t *testing.T) {
	disk := defaultDisk(t)
	r := powercut.Record(disk)
	require.NoError(t, partitions.SetAttributes(r, mustRead(t, disk), 4, partitions.Slot(2, 1, false)))
	for lba := last(disk) - 32; lba <= last(disk); lba++ {
		put(t, disk, lba, sectorAt(t, r.Disk, lba)) // the backup is new, the primary is old
	}
	table := mustRead(t, disk)
	p, _ := table.Partition(4)
	assert.Equal(t, partitions.Slot(0, 0, false), p.Attributes)
	assert.True(t, table.Damaged())
	require.NoError(t, partitions.Repair(disk, table))
	assert.Equal(t, defaultDisk(t).Digest(), disk.Digest())
}

func TestReadFindsTheBackupOfADiskThatGrew(t *testing.T) {
	disk := powercut.Over(defaultDisk(t), 9<<30)
	// The checksum is wrong now, what the header says of the backup is not.
	edit(t, disk, 1, func(h []byte) { h[60] ^= 1 })
	table := mustRead(t, disk)
	assert.True(t, table.Grown())
	assert.Error(t, table.Primary.HeaderErr)
	assert.Len(t, table.Partitions, 7)
}

func TestRead4096(t *testing.T) {
	l := layouts()[1]
	disk := create(t, l)
	for _, sectorSize := range []int{4096, 0} {
		table, err := partitions.Read(disk, disk.Size(), sectorSize)
		require.NoError(t, err)
		assert.Equal(t, l.Partitions, table.Partitions)
		assert.False(t, table.Damaged())
		assert.Equal(t, 4096, table.SectorSize)
	}

	disk = powercut.Over(disk, disk.Size()+1<<20)
	table := readAs(t, disk, 4096)
	before, _ := table.Partition(9)
	require.NoError(t, partitions.Grow(disk, table, 9))
	grown, _ := table.Partition(9)
	assert.Equal(t, before.Size+256, grown.Size)
	assert.False(t, table.Damaged())
}

// small makes a disk that is as small as can be, for the fuzzer.
func small(t testing.TB) *powercut.Disk {
	slot := uuid.MustParse(partitions.TypeUSR)
	l := partitions.Layout{
		SectorSize: 512, DiskSectors: 128, DiskUUID: ids()("disk"),
		Partitions: []partitions.Partition{
			{Number: 1, Label: "USR-A", Type: slot, UUID: ids()("A"), Start: 40, Size: 8, Attributes: partitions.Slot(1, 0, true)},
			{Number: 3, Label: "USR-B", Type: slot, UUID: ids()("B"), Start: 48, Size: 8, Attributes: partitions.Slot(2, 1, false)},
		},
	}
	return create(t, l)
}

// FuzzRead checks that no disk makes Read panic or ask for much memory, and
// that whatever it accepts can be repaired into an equal, undamaged table
// without a write into a partition. The input is the headers and the first
// sector of each array; with seal their checksums are made right, so that the
// fuzzer gets past them.
func FuzzRead(f *testing.F) {
	m := small(f)
	header := func(lba int64) []byte { return sectorAt(f, m, lba)[:92] }
	array := sectorAt(f, m, 2)
	for _, sectors := range []uint16{128, 129, 60, 200} {
		f.Add(header(1), header(127), array, array, sectors, false)
		f.Add(header(1), header(127), array[:], array[:128], sectors, true)
		f.Add(header(127), header(1), array, []byte{}, sectors, true)
	}
	f.Fuzz(func(t *testing.T, primary, backup, first, second []byte, sectors uint16, seal bool) {
		m := powercut.New(int64(sectors) * 512)
		last := int64(sectors) - 1
		for lba, b := range map[int64][]byte{1: primary, 2: first, last - 32: second, last: backup} {
			if lba > 0 && lba <= last {
				put(t, m, lba, b[:min(len(b), 512)])
			}
		}
		if seal {
			sealCopy(t, m, 1)
			sealCopy(t, m, last)
		}
		table, err := partitions.Read(m, m.Size(), 512)
		if err != nil {
			return
		}
		before := *table
		n, ok := partitions.Next(table)
		r := powercut.Record(m)
		if err := partitions.Repair(r, table); err != nil {
			require.Empty(t, r.Operations(), "%v", err)
			return
		}
		assertOutsidePartitions(t, r, &before)
		require.False(t, table.Damaged())
		require.Equal(t, before.Partitions, table.Partitions)
		n2, ok2 := partitions.Next(table)
		require.Equal(t, n, n2)
		require.Equal(t, ok, ok2)
	})
}

// sealCopy makes the checksums of the copy whose header is at lba right.
func sealCopy(t *testing.T, d *powercut.Disk, lba int64) {
	t.Helper()
	if lba < 1 || lba > last(d) {
		return
	}
	edit(t, d, lba, func(h []byte) {
		le := binary.LittleEndian
		start, n := le.Uint64(h[72:]), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
		if start < 1<<16 && n <= 1<<16 {
			array := make([]byte, n)
			_, _ = d.ReadAt(array, int64(start)*512)
			le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
		}
		reseal(h)
	})
}
