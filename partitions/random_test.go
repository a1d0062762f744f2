package partitions_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// randomUUID draws a UUID that is not zero.
func randomUUID(rng *rand.Rand) (id uuid.UUID) {
	binary.LittleEndian.PutUint64(id[:], rng.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rng.Uint64()|1)
	return id
}

// randomLabel draws a label of up to 36 characters of the basic plane.
func randomLabel(rng *rand.Rand) string {
	alphabet := []rune("abcXYZ019 -_.,;äßñЖ中")
	label := make([]rune, rng.IntN(37))
	for i := range label {
		label[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(label)
}

// randomLayout draws a table: sectors of 512 or 4096 bytes, a disk of some
// kilobytes up to 16 TiB, up to 128 partitions with numbers in any order, of
// any size, next to each other or with gaps.
func randomLayout(rng *rand.Rand) partitions.Layout {
	l := partitions.Layout{SectorSize: 512, DiskUUID: randomUUID(rng)}
	if rng.IntN(2) == 0 {
		l.SectorSize = 4096
	}
	limit := int64(1) << (18 + rng.IntN(26)) / int64(l.SectorSize)
	array := int64(128 * 128 / l.SectorSize)
	l.DiskSectors = limit + 2*array + rng.Int64N(limit)
	count := rng.IntN(20)
	if rng.IntN(20) == 0 {
		count = 128
	}
	numbers := rng.Perm(128)[:count]
	first, last := 2+array, l.DiskSectors-2-array
	names := partitions.TypeNames()
	labels := map[string]bool{}
	for i, n := range numbers {
		room := (last - first + 1) / int64(count-i)
		if room < 1 {
			break
		}
		p := partitions.Partition{
			Number: n + 1, Label: randomLabel(rng), UUID: randomUUID(rng), Type: randomUUID(rng),
			Start: first + rng.Int64N(room), Attributes: partitions.Attributes(rng.Uint64()),
		}
		if rng.IntN(3) == 0 {
			p.Start = first
		}
		p.Size = 1 + rng.Int64N(first+room-p.Start)
		if rng.IntN(3) == 0 {
			p.Size = first + room - p.Start
		}
		if name := names[rng.IntN(len(names))]; rng.IntN(2) == 0 && name.Name != "unused" {
			p.Type = uuid.MustParse(name.Type)
		}
		if labels[p.Label] {
			p.Label = fmt.Sprint("#", n)
		}
		labels[p.Label] = true
		first = p.End() + 1
		l.Partitions = append(l.Partitions, p)
	}
	slices.SortFunc(l.Partitions, func(a, b partitions.Partition) int { return a.Number - b.Number })
	return l
}

// Random tables come back as they were written; any one of the four parts
// may be zeroed or damaged, the table is read all the same and mended into
// the very bytes it was; on a larger disk it moves to the end. Nothing is
// written but the table.
func TestRandomTables(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 400
	}
	for seed := range uint64(count) {
		rng := rand.New(rand.NewPCG(seed, 4))
		l := randomLayout(rng)
		if err := l.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		disk := create(t, l)
		table := readAs(t, disk, l.SectorSize)
		if !slices.Equal(l.Partitions, table.Partitions) || table.DiskUUID != l.DiskUUID || table.Damaged() {
			t.Fatalf("seed %d: wrote %v, read %v", seed, l, table)
		}
		for part, r := range tableParts(disk, l.SectorSize) {
			spoiled := disk.Clone()
			damagePart(t, rng, spoiled, r.offset, r.size)
			if spoiled.Digest() == disk.Digest() {
				continue // an array of zeros
			}
			rec := powercut.Record(spoiled)
			table := readAs(t, spoiled, l.SectorSize)
			require.NoError(t, partitions.Repair(rec, table), "seed %d, %s", seed, part)
			onlyTable(t, rec, int64(l.SectorSize))
			if rec.Digest() != disk.Digest() {
				t.Fatalf("seed %d, %s: not mended into what it was", seed, part)
			}
		}
		growRandom(t, rng, seed, l, disk)
	}
}

type place struct{ offset, size int64 }

// tableParts are the four parts of a table, in bytes.
func tableParts(d *powercut.Disk, sectorSize int) map[string]place {
	s, array := int64(sectorSize), int64(128*128)
	return map[string]place{
		"primary header": {s, 92}, "primary entries": {2 * s, array},
		"backup entries": {d.Size() - s - array, array}, "backup header": {d.Size() - s, 92},
	}
}

// damagePart zeroes a part, or flips one of its bits.
func damagePart(t *testing.T, rng *rand.Rand, d *powercut.Disk, offset, size int64) {
	t.Helper()
	b := make([]byte, size)
	if rng.IntN(2) == 0 {
		_, err := d.ReadAt(b, offset)
		require.NoError(t, err)
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	}
	_, err := d.WriteAt(b, offset)
	require.NoError(t, err)
}

// growRandom puts the image onto a larger disk. The primary header may be
// gone there as well: then the backup cannot be found, which is an error and
// no reason to write anything.
func growRandom(t *testing.T, rng *rand.Rand, seed uint64, l partitions.Layout, disk *powercut.Disk) {
	t.Helper()
	size := disk.Size() + (1+rng.Int64N(100_000))*int64(l.SectorSize)
	grown := powercut.Over(disk, size)
	rec := powercut.Record(grown)
	table := readAs(t, grown, l.SectorSize)
	require.True(t, table.Grown(), "seed %d", seed)
	before := *table
	require.NoError(t, partitions.Repair(rec, table), "seed %d", seed)
	assertOutsidePartitions(t, rec, &before)
	onlyTable(t, rec, int64(l.SectorSize))
	array := int64(128 * 128 / l.SectorSize)
	if table.Damaged() || !slices.Equal(before.Partitions, table.Partitions) ||
		table.LastUsable != size/int64(l.SectorSize)-2-array {
		t.Fatalf("seed %d: grown into %v", seed, table)
	}

	lost := powercut.Over(disk, size)
	lost.Zero(int64(l.SectorSize)/512, 1)
	_, err := partitions.Read(lost, size, l.SectorSize)
	require.ErrorIs(t, err, partitions.ErrNoTable, "seed %d", seed)
}
