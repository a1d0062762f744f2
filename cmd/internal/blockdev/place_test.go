package blockdev_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/blockdev"
)

func TestPlace(t *testing.T) {
	cases := []struct{ name, link, want string }{
		{"vda", "../devices/pci0000:00/0000:00:04.0/virtio1/block/vda", "04.0"},
		{"vdb", "../devices/pci0000:00/0000:00:02.1/0000:02:00.0/virtio2/block/vdb", "02.1/00.0"},
		{"sda", "../devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda", "1f.2/ata:2"},
		{"sdb", "../devices/pci0000:00/0000:00:05.0/virtio3/host6/target6:0:1/6:0:1:4/block/sdb", "05.0/scsi:1:4"},
		{"nvme0n1", "../devices/pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1", "06.0/nvme:7"},
		{"xvda", "../devices/vbd-51712/block/xvda", ""},
	}
	sys := fstest.MapFS{
		"class/ata_port/ata3/port_no":          {Data: []byte("3\n")},
		"devices/pci0000:00/nvme/nvme0n1/nsid": {Data: []byte("7\n")},
	}
	for _, c := range cases {
		sys["block/"+c.name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(c.link)}
	}
	sys["devices/pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1/nsid"] = &fstest.MapFile{Data: []byte("7\n")}
	for _, c := range cases {
		assert.Equal(t, c.want, blockdev.Place(sys, c.name), c.name)
	}
	assert.Empty(t, blockdev.Place(sys, "none"))
}
