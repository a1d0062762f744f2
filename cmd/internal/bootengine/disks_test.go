package bootengine_test

import (
	"testing"
	"testing/fstest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
)

func TestListBlock(t *testing.T) {
	sys := fstest.MapFS{}
	for name, size := range map[string]string{
		"vda": "2048", "nvme0n1": "4096", "sr0": "10", "loop0": "10", "dm-0": "10", "sdb": "0", "zram0": "8",
	} {
		sys["block/"+name+"/size"] = &fstest.MapFile{Data: []byte(size + "\n")}
		sys["block/"+name+"/queue/logical_block_size"] = &fstest.MapFile{Data: []byte("512\n")}
	}
	sys["block/nvme0n1/queue/logical_block_size"] = &fstest.MapFile{Data: []byte("4096\n")}
	sys["block/odd/size"] = &fstest.MapFile{Data: []byte("x\n")}
	got, err := bootengine.ListBlock(sys)
	require.NoError(t, err)
	assert.Equal(t, []bootengine.BlockDevice{
		bootengine.NewBlockDevice("nvme0n1", 4096*512, 4096),
		bootengine.NewBlockDevice("vda", 2048*512, 512),
	}, got)
}

func TestPartitionName(t *testing.T) {
	for disk, want := range map[string]string{"vda": "vda3", "nvme0n1": "nvme0n1p3", "mmcblk0": "mmcblk0p3", "sdaa": "sdaa3"} {
		assert.Equal(t, want, bootengine.PartitionName(disk, 3))
	}
}

func TestPickDisk(t *testing.T) {
	const espA, espB = "0f2c5f1e-0000-4000-8000-00000000000a", "0f2c5f1e-0000-4000-8000-00000000000b"
	disk := func(name, esp string) *bootengine.Disk {
		return bootengine.NewDisk(name, &partitions.Table{Partitions: []partitions.Partition{{Number: 1, UUID: uuid.MustParse(esp)}}})
	}
	a, b := disk("vda", espA), disk("vdb", espB)
	cases := []struct {
		name  string
		found []*bootengine.Disk
		esp   string
		want  string
		sure  bool
		note  string
	}{
		{"none yet", nil, espB, "", false, ""},
		{"only one", []*bootengine.Disk{a}, "", "vda", true, ""},
		{
			"firmware does not say", []*bootengine.Disk{a, b}, "", "vda", true,
			"disk vda: taken as the first of 2 with slots; the firmware does not say which it started from",
		},
		{"the one the firmware used", []*bootengine.Disk{a, b}, espB, "vdb", true, ""},
		{"upper case", []*bootengine.Disk{a, b}, "0F2C5F1E-0000-4000-8000-00000000000B", "vdb", true, ""},
		{
			"another one may come", []*bootengine.Disk{a}, espB, "vda", false,
			"disk vda: taken although partition " + espB + ", where the firmware started, is on none",
		},
		{
			"copies", []*bootengine.Disk{a, b, disk("vdc", espB)}, espB, "vdb", true,
			"disk vdb: taken as the first of 2 copies that have partition " + espB,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, sure := bootengine.PickDisk(c.found, c.esp)
			name := ""
			if d != nil {
				name = d.Name()
			}
			assert.Equal(t, c.want, name)
			assert.Equal(t, c.sure, sure)
			if d != nil {
				assert.Equal(t, c.note, bootengine.DiskNote(d, c.found, sure, c.esp))
			}
		})
	}
}

func TestParseLoaderDevice(t *testing.T) {
	cases := []struct{ name, raw, want string }{
		{"as systemd's stub writes it", "\x06\x00\x00\x00A\x00B\x00-\x001\x00\x00\x00", "ab-1"},
		{"no NUL", "\x06\x00\x00\x00A\x00", "a"},
		{"attributes only", "\x06\x00\x00\x00", ""},
		{"too short", "\x06", ""},
		{"odd length", "\x06\x00\x00\x00A\x00B", "a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, bootengine.ParseLoaderDevice([]byte(c.raw)))
		})
	}
}

func TestKexecCommandLine(t *testing.T) {
	table := &partitions.Table{Partitions: []partitions.Partition{{Number: 1, UUID: uuid.MustParse(partitions.UUIDUSRA)}}}
	got := bootengine.KexecCommandLine("console=ttyS0 panic=5\n", 4, bootengine.NewDisk("vda", table))
	assert.Equal(t, "console=ttyS0 panic=5 slipway.slot=4 slipway.esp="+partitions.UUIDUSRA, got)
}
