package tools

import "slices"

// Group is a set of foreign programs with one purpose.
type Group struct {
	Name     string
	Packages []string // Debian packages whose closure of dependencies is unpacked
	Exclude  []string // packages that must not come along, whatever depends on them
	Programs []string // what the group is there for; each exists after Open
}

// Groups are the groups there are. A program that several groups hold belongs
// to the first that names it.
func Groups() []Group {
	return []Group{
		{
			// What a build runs: all offline, none of it as root.
			Name: "build",
			Packages: []string{
				"grub-common", "grub-pc-bin", "kmod", "libc-bin", "systemd", "systemd-boot-efi", "udev",
			},
			Programs: []string{
				"depmod", "grub-mkimage", "journalctl", "ldconfig", "systemctl", "systemd-hwdb",
				"systemd-sysusers", "systemd-tmpfiles", "udevadm",
			},
		},
		{
			// What packs payloads for release. Its version decides their bytes.
			Name:     "payload",
			Packages: []string{"zstd"},
			Programs: []string{"zstd"},
		},
		{
			// What "slipway run" and the tests in qemu-tests start.
			Name: "run",
			Packages: []string{
				"ipxe-qemu", "ovmf", "qemu-system-x86", "qemu-utils", "seabios",
			},
			Programs: []string{"qemu-img", "qemu-io", "qemu-nbd", "qemu-system-x86_64"},
		},
		{
			// What judges our bytes in tests.
			Name: "judge",
			Packages: []string{
				"apt", "cgpt", "cryptsetup-bin", "dbus-daemon", "debian-archive-keyring", "dosfstools", "dpkg",
				"e2fsprogs", "erofs-utils", "fdisk", "gdisk", "mtools", "opensc",
				"openssl", "osslsigncode", "sbsigntool", "softhsm2", "tar", "xdelta3", "xz-utils",
			},
			Programs: []string{
				"apt-get", "apt-cache", "cgpt", "dbus-daemon", "debugfs", "dpkg", "dpkg-deb", "dump.erofs", "dumpe2fs",
				"e2fsck", "fsck.erofs", "fsck.fat", "fsck.vfat", "gdisk", "mcopy", "mdir", "mke2fs",
				"mkfs.erofs", "mkfs.vfat", "mtype", "openssl", "osslsigncode", "pkcs11-tool", "resize2fs",
				"sbsign", "sbverify", "sfdisk", "sgdisk", "softhsm2-util", "tar", "tune2fs",
				"veritysetup", "xdelta3", "xz",
			},
		},
	}
}

// LookupGroup finds a group by its name.
func LookupGroup(name string) (Group, bool) {
	groups := Groups()
	i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		return Group{}, false
	}
	return groups[i], true
}

// GroupOf gives the name of the group to which a program belongs, "" if none
// names it.
func GroupOf(program string) string {
	for _, g := range Groups() {
		if slices.Contains(g.Programs, program) {
			return g.Name
		}
	}
	return ""
}
