package disk_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
)

// judge runs a foreign program that must succeed and returns what it says.
func judge(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, err := toolstest.Command(t, program, args...).CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", program, strings.Join(args, " "), output)
	return strings.TrimSpace(string(output))
}

// fullDisk writes a disk with every partition in use that an image uses.
func fullDisk(t *testing.T) *os.File {
	const date = 1763700000
	grub, err := disk.LoadGRUB(t.Context(), toolstest.Tree(t, "build"), layout())
	require.NoError(t, err)
	esp, err := disk.ESP(tree.Bytes(bytes.Repeat([]byte("uki "), 1<<20)), date)
	require.NoError(t, err)
	oem, err := disk.OEM("qemu", "4000.0.0", "alpha", date)
	require.NoError(t, err)
	contents := map[string]disk.Content{"USR-A": content(slot())}
	for label, files := range map[string]*tree.Tree{disk.LabelESP: esp, disk.LabelOEM: oem} {
		f := newFile(t)
		require.NoError(t, f.Truncate(128<<20))
		require.NoError(t, fat.Write(f, 128<<20, files, &fat.Options{Label: label, Time: date}))
		contents[label] = disk.Content{Data: f, Size: 128 << 20}
	}
	f := newFile(t)
	require.NoError(t, disk.Write(t.Context(), f, &disk.Options{
		Layout: layout(), GRUB: grub, Contents: contents,
	}))
	return f
}

// TestForeignToolsReadTheDisk compares the disk with the table of the design,
// section 5, in the words of others.
func TestForeignToolsReadTheDisk(t *testing.T) {
	f := fullDisk(t)
	assert.Contains(t, judge(t, "sgdisk", "-v", f.Name()), "No problems found")

	var got strings.Builder
	for _, number := range []string{"1", "2", "3", "4", "6", "7", "9"} {
		fields := make([]string, 0, 9)
		for _, field := range []string{"-b", "-s", "-l", "-t", "-P", "-T", "-S", "-A"} {
			fields = append(fields, judge(t, "cgpt", "show", "-i", number, field, f.Name()))
		}
		fmt.Fprintln(&got, number, strings.Join(fields, " "))
	}
	assert.Equal(t, `1 4096 262144 EFI-SYSTEM C12A7328-F81F-11D2-BA4B-00A0C93EC93B 0 0 0 0
2 266240 4096 BIOS-BOOT 21686148-6449-6E6F-744E-656564454649 0 0 0 0
3 270336 2097152 USR-A 5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6 1 0 1 0x101
4 2367488 2097152 USR-B 5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6 0 0 0 0
6 4464640 262144 OEM 0FC63DAF-8483-4772-8E79-3D69D8477DE4 0 0 0 0
7 4726784 131072 OEM-CONFIG C95DC21A-DF0E-4340-8D7B-26CBFA9A03E0 0 0 0 0
9 4857856 11919327 ROOT 3884DD41-8582-4404-B9A8-E9B84F2DF50E 0 0 0 0
`, got.String())
	for number, uuid := range map[string]string{
		"3": "7130C94A-213A-4E5A-8E26-6CCE9662F132", "4": "E03DD35C-7C2D-4A47-B3FE-27F15780A57C",
	} {
		assert.Equal(t, uuid, judge(t, "cgpt", "show", "-i", number, "-u", f.Name()))
	}
	assert.Equal(t, "1:2:1 (legacy BIOS bootable)", judge(t, "sgdisk", "-A", "1:show:2", f.Name()))

	info := judge(t, "qemu-img", "info", f.Name())
	assert.Contains(t, info, "virtual size: 8 GiB (8589934592 bytes)")
	assert.Less(t, allocated(t, f), int64(16<<20), "the image is sparse")
}

func TestForeignToolsReadTheFileSystems(t *testing.T) {
	f := fullDisk(t)
	for label, want := range map[string]string{
		disk.LabelESP: "EFI/BOOT/BOOTX64.EFI", disk.LabelOEM: "update.conf",
	} {
		p, _ := layout().Partition(label)
		part := filepath.Join(t.TempDir(), label)
		out, err := os.Create(part)
		require.NoError(t, err)
		_, err = io.Copy(out, io.NewSectionReader(f, layout().Offset(p), p.Size*sector))
		require.NoError(t, err)
		require.NoError(t, out.Close())
		judge(t, "fsck.vfat", "-n", part)
		assert.Contains(t, judge(t, "mdir", "-b", "-/", "-i", part), "::/"+want)
	}
}

func TestLoadGRUBIsDeterministic(t *testing.T) {
	tools := toolstest.Tree(t, "build")
	first, err := disk.LoadGRUB(t.Context(), tools, layout())
	require.NoError(t, err)
	again, err := disk.LoadGRUB(t.Context(), tools, layout())
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Less(t, len(first.Core), 256<<10)
}
