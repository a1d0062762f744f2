package bootengine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
	"slipway/cmd/internal/kexec"
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
	part     partitions.Partition
	device   string // "/dev/vda3"
	footer   *footer.Footer
	verified string        // verifyFull or verifyLazy
	kernel   *kexec.Kernel // another one than the running one, not loaded yet; or nil
}

// opener is the slotSource of a real disk.
type opener struct {
	*engine
	disk  *disk
	doubt string // why every block must be verified, if there is a reason

	footers map[int]*footer.Footer // by slot; nil: none that can be trusted
}

// readFooter reads the footer of a slot, once.
func (o *opener) readFooter(p partitions.Partition) (*footer.Footer, error) {
	f, err := os.Open("/dev/" + blockdev.Partition(o.disk.name, p.Number))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ft, err := footer.Read(f, p.Size*int64(o.disk.table.SectorSize), o.config.keys)
	if o.footers == nil {
		o.footers = map[int]*footer.Footer{}
	}
	o.footers[p.Number] = ft
	return ft, err
}

// Version is the version in a slot's footer.
func (o *opener) Version(p partitions.Partition) string {
	ft, known := o.footers[p.Number]
	if !known {
		ft, _ = o.readFooter(p)
	}
	if ft == nil {
		return ""
	}
	return ft.Version
}

// versions are those of all slots, by label.
func (o *opener) versions() map[string]string {
	list := map[string]string{}
	for _, p := range o.disk.table.Slots() {
		if v := o.Version(p); v != "" {
			list[p.Label] = v
		}
	}
	return list
}

// UseTry takes a try on the disk.
func (o *opener) UseTry(number int) error {
	return partitions.UseTry(o.disk.file, o.disk.table, number)
}

// Open checks the footer, then the content, lets the kernel mount it, and gets
// the slot's kernel ready if it is not the running one.
func (o *opener) Open(p partitions.Partition) (*slot, error) {
	s := &slot{part: p, device: "/dev/" + blockdev.Partition(o.disk.name, p.Number)}
	var err error
	if s.footer, err = o.readFooter(p); err != nil {
		return nil, err
	}
	f, err := blockdev.Open(s.device, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	how, why := howToVerify(o.config, o.doubt, p.Attributes)
	if why != "" {
		o.say("%s: verifying every block: %s", p.Label, why)
	}
	s.verified = how
	if err := o.verify(f, s.footer, how); err != nil {
		return nil, err
	}
	o.watchdog.ping()
	if err := mountSlot(s); err != nil {
		// A bad block is the likely cause, and says more than the mount does.
		if bad := o.verify(f, s.footer, verifyFull); bad != nil {
			err = fmt.Errorf("%w (%w)", bad, err)
		}
		return nil, err
	}
	if s.footer.BootID != o.config.bootID && o.config.slot == 0 {
		if s.kernel, err = readKernel(s, o.disk); err != nil {
			unmountSlot()
			return nil, fmt.Errorf("its kernel: %w", err)
		}
	}
	return s, nil
}

// verify compares a slot's blocks with its root hash, under the watchdog's eye.
func (o *opener) verify(f *blockdev.File, ft *footer.Footer, how string) error {
	// The kernel reads through the device mapper and not what would be cached
	// here. The tree is small and read in small pieces, ahead by the kernel.
	err := verify(o.watchdog.progress(f), o.watchdog.progress(f.File), ft, how)
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return err
}

// mountSlot lets the kernel verify and mount the slot, or leaves nothing behind.
func mountSlot(s *slot) error {
	if err := mapSlot(s.device, s.footer); err != nil {
		return err
	}
	if err := os.MkdirAll(usrMount, 0o755); err != nil {
		return err
	}
	err := unix.Mount("/dev/mapper/"+mapperName, usrMount, s.footer.FSType, unix.MS_RDONLY|unix.MS_NODEV, "")
	if err != nil {
		unmapSlot()
		return fmt.Errorf("mount its %s: %w", s.footer.FSType, err)
	}
	return nil
}

// unmountSlot undoes mountSlot; an error would only hide the one being reported.
func unmountSlot() {
	_ = unix.Unmount(usrMount, 0)
	unmapSlot()
}

// mapSlot makes /dev/mapper/usr.
func mapSlot(device string, ft *footer.Footer) error {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	dm, err := openMapper()
	if err != nil {
		return err
	}
	defer dm.close()
	node, err := dm.create(mapperName, "CRYPT-VERITY-"+ft.RootHash[:32]+"-"+mapperName,
		verityTarget(st.Rdev, ft, ""))
	if err != nil {
		return fmt.Errorf("dm-verity: %w", err)
	}
	return linkMapper(mapperName, node)
}

// armSlot makes a bad block panic the kernel from now on. Until ROOT is mounted
// it is a read error, for which another slot can be tried; afterwards the panic
// leaves ROOT unclean, for which the next boot verifies every block. The panic
// says which block on the console and in pstore, and "panic=" reboots;
// restart_on_corruption would reboot as well, but nobody would learn why.
func armSlot(s *slot) error {
	var st unix.Stat_t
	if err := unix.Stat(s.device, &st); err != nil {
		return fmt.Errorf("%s: %w", s.device, err)
	}
	dm, err := openMapper()
	if err != nil {
		return err
	}
	defer dm.close()
	if err := dm.load(mapperName, verityTarget(st.Rdev, s.footer, "panic_on_corruption")); err != nil {
		return fmt.Errorf("dm-verity: %w", err)
	}
	return nil
}

// unmapSlot undoes mapSlot; an error would only repeat the one being reported.
func unmapSlot() {
	if dm, err := openMapper(); err == nil {
		_ = dm.remove(mapperName)
		dm.close()
	}
}

// verityTarget is the verity target of a slot on the partition with the device
// number (Documentation/admin-guide/device-mapper/verity.rst in the kernel).
// onCorruption is what a bad block does; "" makes it a read error.
func verityTarget(partition uint64, ft *footer.Footer, onCorruption string) target {
	salt := ft.Salt
	if salt == "" {
		salt = "-"
	}
	device := fmt.Sprintf("%d:%d", unix.Major(partition), unix.Minor(partition))
	params := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %s %s",
		device, device, ft.BlockSize, ft.BlockSize, ft.FSSize/ft.BlockSize,
		ft.HashOffset/ft.BlockSize+1, ft.RootHash, salt)
	if onCorruption != "" {
		params += " 1 " + onCorruption
	}
	return target{kind: "verity", sectors: uint64(ft.FSSize / 512), params: params}
}
