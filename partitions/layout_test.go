package partitions_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

func TestDefaultLayout(t *testing.T) {
	l := partitions.DefaultLayout(func(label string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(label)) })
	require.NoError(t, l.Validate())
	var text strings.Builder
	for _, p := range l.Partitions {
		name := ""
		for _, n := range partitions.TypeNames() {
			if n.Type == p.Type.String() {
				name = n.Name
				break
			}
		}
		fmt.Fprintf(&text, "%d %s %s %d+%d %#x\n", p.Number, p.Label, name, p.Start, p.Size, uint64(p.Attributes))
	}
	assert.Equal(t, `1 EFI-SYSTEM efi 4096+262144 0x4
2 BIOS-BOOT bios 266240+4096 0x0
3 USR-A coreos-usr 270336+2097152 0x101000000000000
4 USR-B coreos-usr 2367488+2097152 0x0
6 OEM data 4464640+262144 0x0
7 OEM-CONFIG coreos-reserved 4726784+131072 0x0
9 ROOT coreos-resize 4857856+11919327 0x0
`, text.String())
	a, _ := l.Partition("USR-A")
	b, _ := l.Partition("USR-B")
	assert.Equal(t, partitions.UUIDUSRA, a.UUID.String())
	assert.Equal(t, partitions.UUIDUSRB, b.UUID.String())
	assert.EqualValues(t, 8<<30, l.DiskSize())
	assert.EqualValues(t, 138412032, l.Offset(a))
}

func TestLayoutValidateSaysEverything(t *testing.T) {
	data := uuid.MustParse(partitions.TypeLinuxData)
	part := func(n int, label string, start, size int64) partitions.Partition {
		return partitions.Partition{Number: n, Label: label, Type: data, UUID: ids()(fmt.Sprint(n, label)), Start: start, Size: size}
	}
	twin := part(1, "a", 4096, 4096)
	tests := []struct {
		name    string
		change  func(*partitions.Layout)
		wantErr string
	}{
		{"good", func(*partitions.Layout) {}, ""},
		{"sector size", func(l *partitions.Layout) { l.SectorSize = 1024 }, "layout: sector size is 1024, want 512 or 4096"},
		{"tiny disk", func(l *partitions.Layout) { l.DiskSectors = 66 }, "layout: disk of 66 sectors has no room for a table"},
		{"disk UUID", func(l *partitions.Layout) { l.DiskUUID = uuid.UUID{} }, "layout: no disk UUID"},
		{
			"twin", func(l *partitions.Layout) { l.Partitions = append(l.Partitions, twin) },
			"partitions 1 (a) and 1 (a): same number\npartitions 1 (a) and 1 (a): same label\n" +
				"partitions 1 (a) and 1 (a): same UUID\npartitions 1 (a) and 1 (a): overlap",
		},
		{
			"overlap by one", func(l *partitions.Layout) {
				l.Alignment = 1
				l.Partitions = append(l.Partitions, part(2, "b", 8191, 1))
			},
			"partitions 1 (a) and 2 (b): overlap",
		},
		{
			"several", func(l *partitions.Layout) {
				l.Partitions = append(l.Partitions, part(0, "b", 8192, 1), part(129, "c", 8192, 1), part(2, "d", 8192, 0),
					part(3, "e", 8193, 1), part(4, "f", 16384, 1<<40), part(5, strings.Repeat("x", 37), 12288, 1),
					part(6, "a😀b", 20480, 1), part(7, "bad\xff", 24576, 1))
			},
			"partition 0: number is not within 1 to 128\npartition 129: number is not within 1 to 128\n" +
				"partition 2: start 8192, size 0\npartition 3 (e): start 8193 is not a multiple of 4096\n" +
				"partition 4 (f): sectors 16384 to 1099511644159 are not within 34 to 99966\n" +
				"partition 5: label \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" has 37 UTF-16 units, at most 36 fit\n" +
				"partition 6 (a😀b): label holds characters beyond the basic plane\npartitions 4 (f) and 6 (a😀b): overlap\n" +
				"partition 7 (bad\xff): label holds characters beyond the basic plane\npartitions 4 (f) and 7 (bad\xff): overlap",
		},
		{
			"no type", func(l *partitions.Layout) { l.Partitions[0].Type = uuid.UUID{} }, "partition 1: no type",
		},
		{"no UUID", func(l *partitions.Layout) { l.Partitions[0].UUID = uuid.UUID{} }, "partition 1 (a): no UUID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := partitions.Layout{
				SectorSize: 512, DiskSectors: 100000, Alignment: 4096, DiskUUID: ids()("disk"),
				Partitions: []partitions.Partition{twin},
			}
			tt.change(&l)
			err := l.Validate()
			if tt.wantErr == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.wantErr)
			r := powercut.Record(powercut.New(100000 * 512))
			assert.Error(t, partitions.Create(r, r.Size(), l))
			assert.Empty(t, r.Operations(), "nothing is written")
		})
	}
}

func TestCreateKeepsBootCode(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	m := powercut.New(l.DiskSize())
	code := []byte(strings.Repeat("boot", 110))
	_, err := m.WriteAt(code, 0)
	require.NoError(t, err)
	require.NoError(t, partitions.Create(m, m.Size(), l))
	s := sectorAt(t, m, 0)
	assert.Equal(t, code, s[:440])
	assert.Equal(t, []byte{0x55, 0xaa}, s[510:])
	assert.EqualValues(t, 0xee, s[450])
	assert.EqualValues(t, 16777215, binary.LittleEndian.Uint32(s[458:]))
}

func TestCreateOnDisksOtherThanTheLayouts(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	r := powercut.Record(powercut.New(l.DiskSize() - 512))
	assert.EqualError(t, partitions.Create(r, r.Size(), l), "layout: needs a disk of 8589934592 bytes, this one has 8589934080")
	assert.Empty(t, r.Operations())

	m := powercut.New(3 << 40)
	require.NoError(t, partitions.Create(m, m.Size(), l))
	s := sectorAt(t, m, 0)
	assert.EqualValues(t, 0xffffffff, binary.LittleEndian.Uint32(s[458:]), "more than 2 TiB")
	table := mustRead(t, m)
	assert.False(t, table.Damaged())
	assert.EqualValues(t, 3<<40/512-34, table.LastUsable)
}
