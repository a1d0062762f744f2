package bootengine_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
)

func TestListBlock(t *testing.T) {
	sys := fstest.MapFS{}
	for name, size := range map[string]string{
		"vda": "2048", "nvme0n1": "4096", "sr0": "10", "loop0": "10", "dm-0": "10", "sdb": "0", "zram0": "8", "vdb": "8",
	} {
		sys["block/"+name+"/size"] = &fstest.MapFile{Data: []byte(size + "\n")}
		sys["block/"+name+"/queue/logical_block_size"] = &fstest.MapFile{Data: []byte("512\n")}
	}
	sys["block/nvme0n1/queue/logical_block_size"] = &fstest.MapFile{Data: []byte("4096\n")}
	sys["block/odd/size"] = &fstest.MapFile{Data: []byte("x\n")}
	got, err := bootengine.ListBlock(sys)
	require.NoError(t, err)
	assert.Equal(t, []bootengine.BlockDevice{
		bootengine.NewBlockDevice("nvme0n1", "", 4096*512, 4096),
		bootengine.NewBlockDevice("vda", "", 2048*512, 512),
		bootengine.NewBlockDevice("vdb", "", 8*512, 512),
	}, got)
}

func TestPickDisk(t *testing.T) {
	const espA, espB = "0f2c5f1e-0000-4000-8000-00000000000a", "0f2c5f1e-0000-4000-8000-00000000000b"
	disk := func(name, esp, place string) *bootengine.Disk {
		table := &partitions.Table{Partitions: []partitions.Partition{{Number: 1, UUID: uuid.MustParse(esp)}}}
		return bootengine.NewDisk(name, table).At(place)
	}
	a, b := disk("vda", espA, "04.0"), disk("vdb", espB, "05.0")
	copied := disk("vdc", espB, "06.0")
	cases := []struct {
		name     string
		found    []*bootengine.Disk
		esp      string
		place    string
		want     string
		patience time.Duration
		note     string
	}{
		{"none yet", nil, espB, "", "", 30 * time.Second, ""},
		{"only one", []*bootengine.Disk{a}, "", "", "vda", 0, ""},
		{
			"firmware does not say", []*bootengine.Disk{a, b}, "", "", "vda", 0,
			"disk vda: taken as the first of 2 with slots; the firmware does not say which it started from",
		},
		{"the one the firmware used", []*bootengine.Disk{a, b}, espB, "", "vdb", 0, ""},
		{"upper case", []*bootengine.Disk{a, b}, "0F2C5F1E-0000-4000-8000-00000000000B", "", "vdb", 0, ""},
		{
			"another one may come", []*bootengine.Disk{a}, espB, "", "vda", 5 * time.Second,
			"disk vda: taken although partition " + espB + ", where the firmware started, is on none",
		},
		{
			"copies", []*bootengine.Disk{a, b, copied}, espB, "", "vdb", 0,
			"disk vdb: taken as the first of 2 copies that have partition " + espB + "; slipway.disk=06.0 would be another",
		},
		{"copies in different places", []*bootengine.Disk{a, b, copied}, espB, "06.0", "vdc", 0, ""},
		{"only the place is known", []*bootengine.Disk{a, b, copied}, "", "05.0", "vdb", 0, ""},
		{"the copy is there first", []*bootengine.Disk{b}, espB, "06.0", "vdb", 2 * time.Second, ""},
		{"the partition says more than the place", []*bootengine.Disk{a, b}, espB, "04.0", "vdb", 2 * time.Second, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			from := bootengine.NewOrigin(c.esp, c.place)
			d, patience := bootengine.PickDisk(c.found, from)
			name := ""
			if d != nil {
				name = d.Name()
			}
			assert.Equal(t, c.want, name)
			assert.Equal(t, c.patience, patience)
			if d != nil {
				assert.Equal(t, c.note, bootengine.DiskNote(d, c.found, from))
			}
		})
	}
}

func TestReadTable(t *testing.T) {
	layout := partitions.DefaultLayout(partitions.SeededUUIDs(uuid.Nil))
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	defer f.Close()
	size := layout.DiskSize()
	require.NoError(t, f.Truncate(size))
	read := func(sectorSize int) (*partitions.Table, error) { return bootengine.ReadTable(f, size, sectorSize) }
	table, err := read(512)
	assert.NoError(t, err)
	assert.Nil(t, table, "a blank disk is none of ours")
	require.NoError(t, partitions.Create(f, size, layout))
	table, err = read(512)
	require.NoError(t, err)
	assert.Len(t, table.Slots(), 2)
	_, err = read(4096)
	assert.EqualError(t, err, "its sectors have 4096 bytes, the image on it is for disks whose sectors have 512")
}

func TestKexecArguments(t *testing.T) {
	table := &partitions.Table{Partitions: []partitions.Partition{{Number: 1, UUID: uuid.MustParse(partitions.UUIDUSRA)}}}
	got := bootengine.KexecArguments(4, bootengine.NewDisk("vda", table).At("1f.2/ata:0"))
	assert.Equal(t, "slipway.slot=4 slipway.esp="+partitions.UUIDUSRA+" slipway.disk=1f.2/ata:0", got)
}
