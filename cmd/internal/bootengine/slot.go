package bootengine

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"slipway/build/verity"
	"slipway/partitions"
	"slipway/signing/footer"
)

const (
	// usrMount is where the slot's file system is mounted until the root is
	// there. Programs of the slot run from there with /lib64 linked to it.
	usrMount = "/usr"
	// mapperName is the device-mapper device of the slot, as on CoreOS.
	mapperName = "usr"
)

// slot is a slot that passed every check and is mounted on usrMount.
type slot struct {
	part   partitions.Partition
	device string // "/dev/vda3"
	footer *footer.Footer
}

// opener is the slotSource of a real disk.
type opener struct {
	*engine
	disk *disk
}

// UseTry takes a try on the disk.
func (o *opener) UseTry(number int) error {
	return partitions.UseTry(o.disk.file, o.disk.table, number)
}

// Open checks the footer, then the content, then lets the kernel mount it.
func (o *opener) Open(p partitions.Partition) (*slot, error) {
	s := &slot{part: p, device: "/dev/" + partitionName(o.disk.name, p.Number)}
	f, err := os.Open(s.device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s.footer, err = footer.Read(f, p.Size*int64(o.disk.table.SectorSize), o.config.keys)
	if err != nil {
		return nil, err
	}
	if err := verify(f, s.footer, o.config.verify); err != nil {
		return nil, err
	}
	if err := mapSlot(s.device, s.footer); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(usrMount, 0o755); err != nil {
		return nil, err
	}
	err = unix.Mount("/dev/mapper/"+mapperName, usrMount, s.footer.FSType, unix.MS_RDONLY|unix.MS_NODEV, "")
	if err != nil {
		unmapSlot()
		return nil, fmt.Errorf("mount its %s: %w", s.footer.FSType, err)
	}
	return s, nil
}

// verify compares the slot's blocks with the signed root hash: the tree only,
// or everything.
func verify(f *os.File, ft *footer.Footer, how string) error {
	salt, err := hex.DecodeString(ft.Salt)
	if err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	root, err := hex.DecodeString(ft.RootHash)
	if err != nil || len(root) != 32 {
		return fmt.Errorf("root hash %q: not a SHA-256", ft.RootHash)
	}
	ctx := context.Background()
	if how == verifyLazy {
		return verity.VerifyTree(ctx, ft.FSSize, f, ft.HashOffset, [32]byte(root), salt, 0)
	}
	err = verity.Verify(ctx, f, ft.FSSize, f, ft.HashOffset, [32]byte(root), salt, 0)
	// The kernel reads through the device mapper and not what was cached here.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return err
}

// mapSlot makes /dev/mapper/usr.
func mapSlot(device string, ft *footer.Footer) error {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	table := verityTable(unix.Major(st.Rdev), unix.Minor(st.Rdev), ft)
	dm, err := openMapper()
	if err != nil {
		return err
	}
	defer dm.close()
	node, err := dm.create(mapperName, "CRYPT-VERITY-"+ft.RootHash[:32]+"-"+mapperName,
		target{kind: "verity", sectors: uint64(ft.FSSize / 512), params: table})
	if err != nil {
		return fmt.Errorf("dm-verity: %w", err)
	}
	return linkMapper(mapperName, node)
}

// unmapSlot undoes mapSlot; an error would only repeat the one being reported.
func unmapSlot() {
	if dm, err := openMapper(); err == nil {
		_ = dm.remove(mapperName)
		dm.close()
	}
}

// verityTable is the table line of the verity target
// (Documentation/admin-guide/device-mapper/verity.rst). A block that turns bad
// later panics the kernel: the panic says which block on the console and in
// pstore, and "panic=" reboots. restart_on_corruption would reboot as well, but
// nobody would learn why.
func verityTable(major, minor uint32, ft *footer.Footer) string {
	salt := ft.Salt
	if salt == "" {
		salt = "-"
	}
	return fmt.Sprintf("1 %d:%d %d:%d %d %d %d %d sha256 %s %s 1 panic_on_corruption",
		major, minor, major, minor, ft.BlockSize, ft.BlockSize, ft.FSSize/ft.BlockSize,
		ft.HashOffset/ft.BlockSize+1, ft.RootHash, salt)
}
