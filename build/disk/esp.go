package disk

import (
	"fmt"

	"slipway/build/tree"
)

// BootPath is what UEFI firmware starts on a disk without a boot entry
// (UEFI specification 2.10, 3.5.1.1), and what GRUB loads.
const BootPath = "EFI/BOOT/BOOTX64.EFI"

// ChannelPath is the file of the OEM partition that says which channel the
// machine follows.
const ChannelPath = "update.conf"

// ChannelConf is the content of that file.
func ChannelConf(channel string) []byte { return []byte("GROUP=" + channel + "\n") }

// CheckESP says whether an EFI system partition of size bytes can hold a UKI
// twice: a proven update writes its own beside the one in use, and only then
// lets go of that. A larger kernel would else be found out on the machines.
func CheckESP(size, uki int64) error {
	// Two FATs of four bytes for each of the smallest clusters, and the rest.
	room := size - size/64 - 64<<10
	if 2*uki > room {
		return fmt.Errorf("partition %q: an update needs two UKIs of %d bytes on it, it holds %d",
			LabelESP, uki, max(room, 0))
	}
	return nil
}

// ESP is the tree of the EFI system partition: the UKI, the only file both
// kinds of firmware start from, so that one rename changes what is started.
// mtime is in seconds since 1970.
func ESP(uki tree.Blob, mtime int64) (*tree.Tree, error) {
	t := tree.New()
	t.Lookup(".").MTime = mtime
	err := t.Set(BootPath, &tree.Node{
		Type: tree.File, Mode: 0o644, MTime: mtime, Blob: uki, Origin: "UKI",
	})
	return t, err
}

// OEM is the tree of the OEM partition, which tells a machine where it runs
// and which channel it follows: files in the formats of CoreOS.
// id names the platform; mtime is in seconds since 1970.
func OEM(id, version, channel string, mtime int64) (*tree.Tree, error) {
	t := tree.New()
	t.Lookup(".").MTime = mtime
	files := []struct{ path, text string }{
		{"oem-release", "ID=" + id + "\nVERSION_ID=" + version + "\nNAME=\"" + id + "\"\n"},
		{ChannelPath, string(ChannelConf(channel))},
	}
	for _, f := range files {
		err := t.Set(f.path, &tree.Node{
			Type: tree.File, Mode: 0o644, MTime: mtime, Blob: tree.Bytes([]byte(f.text)), Origin: "OEM",
		})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}
