package bootengine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/bootengine"
)

func TestDrivers(t *testing.T) {
	list := []bootengine.Module{
		bootengine.NewModule("erofs"),
		bootengine.NewModule("libata", "pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d1*"),
		bootengine.NewModule("ahci", "pci:v*d*sv*sd*bc01sc06i01*"),
		bootengine.NewModule("virtio_blk", "virtio:d00000002v*"),
		bootengine.NewModule("hv_vmbus", "acpi*:VMBUS:*"),
		bootengine.NewModule("hv_storvsc", "vmbus:4acc*"),
	}
	const ahci, blk = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", "virtio:d00000002v00001AF4"
	cases := []struct {
		name    string
		devices [][]string // of one call after the other
		all     bool
		want    string // what was loaded
	}{
		{"every machine", [][]string{nil}, false, "erofs"},
		{"virtio", [][]string{{blk}}, false, "erofs virtio_blk"},
		{"what ahci needs comes first, nothing twice", [][]string{{ahci, blk}, {ahci, blk}}, false, "erofs libata ahci virtio_blk"},
		{"a bus brings devices", [][]string{{"acpi:VMBUS:"}, {"acpi:VMBUS:", "vmbus:4acc00"}}, false, "erofs hv_vmbus hv_storvsc"},
		{"at last everything", [][]string{{blk}}, true, "erofs virtio_blk libata ahci hv_vmbus hv_storvsc"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var log []string
			d := bootengine.Drivers(list, func(path string) error { log = append(log, path); return nil }, t.Logf)
			for _, devices := range c.devices {
				d.LoadFor(devices...)
			}
			assert.False(t, d.LoadFor(c.devices[len(c.devices)-1]...), "nothing new")
			if c.all {
				d.LoadAll()
			}
			assert.Equal(t, c.want, strings.Join(log, " "))
		})
	}
}

func TestDriversSayWhatIsWrong(t *testing.T) {
	var said []string
	failures := map[string]error{"a": unix.EEXIST, "b": unix.ENODEV, "c": errors.New("broken")}
	d := bootengine.Drivers(
		[]bootengine.Module{bootengine.NewModule("a"), bootengine.NewModule("b"), bootengine.NewModule("c"), bootengine.NewModule("d")},
		func(path string) error { return failures[path] },
		func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	assert.True(t, d.LoadFor())
	assert.Equal(t, []string{"kernel module c: broken"}, said)
}

func TestListDevices(t *testing.T) {
	sys := fstest.MapFS{
		"bus/pci/devices/0000:00:01.0/modalias": {Data: []byte("pci:v1\n")},
		"bus/pci/devices/0000:00:02.0/vendor":   {Data: []byte("x")},
		"bus/virtio/devices/virtio0/modalias":   {Data: []byte("virtio:d2v3\n")},
		"bus/usb/devices/1-1/modalias":          {Data: []byte("usb:v1\n")},
	}
	assert.Equal(t, []string{"pci:v1", "virtio:d2v3"}, bootengine.ListDevices(sys))
	assert.False(t, bootengine.MatchAny("pci:[", []string{"pci:["}), "a bad pattern matches nothing")
}
