package bootengine_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf16"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
)

func TestIsAt(t *testing.T) {
	assert.True(t, bootengine.IsAt("1f.2/ata:2", "1f.2"))
	assert.True(t, bootengine.IsAt("1f.2", "1f.2"))
	assert.False(t, bootengine.IsAt("1f.20", "1f.2"))
	assert.False(t, bootengine.IsAt("1f.2", ""))
}

// bootOption is an EFI_LOAD_OPTION of device path nodes.
func bootOption(description string, nodes ...string) string {
	var path strings.Builder
	for _, n := range nodes {
		path.WriteString(n[:2] + string([]byte{byte(len(n) + 2), 0}) + n[2:])
	}
	path.WriteString("\x7f\xff\x04\x00")
	var b strings.Builder
	b.WriteString("\x01\x00\x00\x00" + string([]byte{byte(path.Len()), byte(path.Len() >> 8)}))
	for _, u := range append(utf16.Encode([]rune(description)), 0) {
		b.Write(binary.LittleEndian.AppendUint16(nil, u))
	}
	return b.String() + path.String() + "optional data"
}

const (
	acpiNode = "\x02\x01\xd0\x41\x03\x0a\x00\x00\x00\x00"
	pci4     = "\x01\x01\x00\x04" // function 0, device 4
	pci1f2   = "\x01\x01\x02\x1f" // function 2, device 31
	sata1    = "\x03\x12\x01\x00\xff\xff\x00\x00"
	scsi2    = "\x03\x02\x02\x00\x03\x00"
	nvme1    = "\x03\x17\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// hardDrive is the node of a partition, without a place.
func hardDrive(id uuid.UUID) string {
	var guid [16]byte
	partitions.PutGUID(guid[:], id)
	return "\x04\x01\x01\x00\x00\x00" + strings.Repeat("\x00", 16) + string(guid[:]) + "\x02\x02"
}

func TestOptionPlace(t *testing.T) {
	cases := []struct{ name, option, want string }{
		{"virtio", bootOption("UEFI Misc Device", acpiNode, pci4), "04.0"},
		{"sata", bootOption("UEFI QEMU HARDDISK", acpiNode, pci1f2, sata1), "1f.2/ata:1"},
		{"scsi", bootOption("x", acpiNode, pci4, scsi2), "04.0/scsi:2:3"},
		{"nvme", bootOption("", acpiNode, pci1f2, pci4, nvme1), "1f.2/04.0/nvme:1"},
		{"partition only", bootOption("x", hardDrive(uuid.MustParse(partitions.UUIDUSRA))), ""},
		{"empty", "", ""},
		{"no end of description", "\x01\x00\x00\x00\x10\x00a\x00b", ""},
		{"node too long", bootOption("x", acpiNode)[:12] + "\x01\x01\xff\xff\x00\x04", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, bootengine.OptionPlace([]byte(c.option)))
		})
	}
}

func FuzzOptionPlace(f *testing.F) {
	f.Add([]byte(bootOption("UEFI Misc Device", acpiNode, pci1f2, sata1)))
	f.Add([]byte(bootOption("", acpiNode, pci4, scsi2, nvme1)))
	f.Fuzz(func(t *testing.T, option []byte) {
		if place := bootengine.OptionPlace(option); len(place) > 5*len(option) {
			t.Fatalf("%d bytes became %q", len(option), place)
		}
	})
}

func TestParseFirmware(t *testing.T) {
	const global, attributes = "-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x07\x00\x00\x00"
	const loader = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	named := uuid.MustParse("0f2c5f1e-0102-4000-8000-00000000000a")
	vars := fstest.MapFS{}
	set := func(name, value string) { vars[name] = &fstest.MapFile{Data: []byte(attributes + value)} }
	partition, place := bootengine.ParseFirmware(vars).Parts()
	assert.Empty(t, partition)
	assert.Empty(t, place)

	set("BootCurrent"+global, "\x0a\x00")
	set("Boot0001"+global, bootOption("installed", hardDrive(named)))
	set("Boot000A"+global, bootOption("UEFI Misc Device", acpiNode, pci4))
	set("BootOrder"+global, "\x01\x00")
	f := bootengine.ParseFirmware(vars)
	_, place = f.Parts()
	assert.Equal(t, "04.0", place)
	assert.True(t, f.RefersTo(named))
	assert.False(t, f.RefersTo(uuid.MustParse(partitions.UUIDUSRB)))

	for raw, want := range map[string]string{
		"A\x00B\x00-\x001\x00\x00\x00": "ab-1", // as systemd's stub writes it
		"A\x00":                        "a",
		"":                             "",
		"A\x00B":                       "a",
		strings.Repeat("A\x00", 200):   "",
	} {
		set(loader, raw)
		partition, _ = bootengine.ParseFirmware(vars).Parts()
		assert.Equal(t, want, partition, "%q", raw)
	}
	vars[loader].Data = []byte("x")
	partition, _ = bootengine.ParseFirmware(vars).Parts()
	assert.Empty(t, partition)
}
