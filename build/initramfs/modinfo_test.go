package initramfs_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/initramfs"
	"slipway/build/tree"
)

// module is an ELF file with nothing but a section .modinfo of these fields.
func module(fields ...string) []byte {
	info := strings.Join(fields, "\x00") + "\x00"
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var out bytes.Buffer
	head := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64,
		Shentsize: 64, Shnum: 3, Shstrndx: 2, Shoff: uint64(64 + len(info) + len(names)),
	}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(info)), Size: uint64(len(names))},
	}
	for _, part := range []any{head, []byte(info), []byte(names), sections} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			panic("internal error: " + err.Error())
		}
	}
	return out.Bytes()
}

func TestModuleConditions(t *testing.T) {
	c := contents()
	c.Modules = nil
	for _, m := range []struct {
		name   string
		fields []string
	}{
		{"scsi_common", nil},
		{"scsi_mod", []string{"depends=scsi_common"}},
		{"libata", []string{"depends=scsi_mod,scsi_common"}},
		{"ahci", []string{"depends=libata", "alias=pci:a*", "alias=pci:b*"}},
		{"virtio_scsi", []string{"depends=scsi_mod", "alias=virtio:d8v*"}},
		{"sd_mod", []string{"depends=scsi_mod,scsi_common", "alias=scsi:t-0x00*", "alias=block-major-8-*"}},
		{"watchdog", nil},
		{"wdt", []string{"depends=watchdog", "alias=platform:w"}},
		{"dm-mod", []string{"alias=devname:mapper/control"}},
		{"dm-verity", []string{"depends=dm-mod"}},
		{"both", []string{"alias=pci:c*"}},
		{"fs", []string{"depends=both", "alias=fs-fs"}},
	} {
		c.Modules = append(c.Modules, initramfs.Module{Path: m.name + ".ko", Blob: tree.Bytes(module(m.fields...))})
	}
	files, err := c.Tree()
	require.NoError(t, err)
	text, err := tree.ReadAll(files.Lookup(initramfs.ModulesOrderPath).Blob)
	require.NoError(t, err)
	assert.Equal(t, `scsi_common.ko pci:a* pci:b* virtio:d8v*
scsi_mod.ko pci:a* pci:b* virtio:d8v*
libata.ko pci:a* pci:b*
ahci.ko pci:a* pci:b*
virtio_scsi.ko virtio:d8v*
sd_mod.ko pci:a* pci:b* virtio:d8v*
watchdog.ko platform:w
wdt.ko platform:w
dm-mod.ko
dm-verity.ko
both.ko
fs.ko
`, strings.ReplaceAll(string(text), "/lib/modules/6.1/", ""))
}

func FuzzModinfo(f *testing.F) {
	f.Add(module("depends=a,b", "alias=pci:v1*"))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := contents()
		c.Modules = []initramfs.Module{{Path: "a.ko", Blob: tree.Bytes(data)}}
		_, _ = c.Tree()
	})
}
