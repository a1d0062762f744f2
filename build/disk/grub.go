package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"slipway/build/uki"
	"slipway/partitions"
)

// Offsets in GRUB's first two sectors, from its sources: boot.img is
// grub-core/boot/i386/pc/boot.S, the first sector of core.img is diskboot.S,
// and the constants are in include/grub/i386/pc/boot.h.
const (
	bootCodeSize   = 440  // boot.img's code; the disk signature and MBR table follow
	bootCoreSector = 0x5c // u64: first sector of core.img
	bootDrive      = 0x64 // u8: 0xff takes the drive the BIOS booted from
	bootDriveCheck = 0x66 // two bytes of jump; as two NOPs they correct BIOSes that pass no drive

	coreBlockList  = 0x1f4 // u64 first sector, u16 sectors, u16 segment to load to
	coreSegment    = 0x820
	coreMaxSectors = 0xffff
	nop            = 0x90
	grubDirectory  = "usr/lib/grub/i386-pc"
	grubPrefix     = "()/" // $root becomes the disk the BIOS booted from
)

// Tools runs foreign programs: a tools tree with GRUB in it.
type Tools interface {
	// Command prepares a program of the tree.
	Command(ctx context.Context, program string, args ...string) *exec.Cmd
	// Path is the place on the host of a file of the tree.
	Path(rel string) string
}

// GRUB is the code that starts the UKI on the ESP of BIOS machines.
type GRUB struct {
	Boot []byte // boot.img: what goes into the first sector of the disk
	Core []byte // core.img: what goes into the partition BIOS-BOOT
}

// grubModules are what grubConfig, the GPT and the FAT of the ESP need.
func grubModules() []string {
	return []string{
		"biosdisk", "part_gpt", "fat", "loopback", "linux", "normal", "configfile",
		"probe", "serial", "terminal", "echo", "sleep", "reboot",
	}
}

// grubConfig runs before GRUB has a shell: one command after the other, no
// conditions, and a command that does not work does not keep the next from
// being tried. GRUB leaves it only for the kernel or for another attempt.
//
// It tells the boot engine which ESP it read, for there may be several disks.
// GRUB knows nothing of the table's backup: where the primary one is damaged,
// it finds the ESP by its place, which never changes, and the boot engine mends
// the table.
func grubConfig(esp partitions.Partition) string {
	efi := "/" + BootPath
	return fmt.Sprintf(`serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
probe --set=%[5]s_esp --part-uuid $root,gpt%[8]d
set %[5]s=slipway.esp=$%[5]s_esp
loopback %[1]s ($root,gpt%[8]d)%[2]s
source (%[1]s)%[3]d+%[4]d
boot
echo "slipway: GRUB: no %[2]s by the table; trying by place"
loopback esp ($root)%[6]d+%[7]d
loopback %[1]s (esp)%[2]s
source (%[1]s)%[3]d+%[4]d
boot
echo "slipway: GRUB: %[2]s does not boot; restarting in 30 seconds"
sleep 30
reboot
`, uki.GRUBDevice, efi, uki.GRUBOffset/sectorSize, uki.GRUBSize/sectorSize, uki.GRUBArguments, esp.Start, esp.Size, esp.Number)
}

// grubMkimageArgs is the command line of grub-mkimage. It syncs its output, so
// that must be a file.
func grubMkimageArgs(directory, config, output string) []string {
	args := []string{
		"--format=i386-pc", "--directory=" + directory, "--prefix=" + grubPrefix,
		"--config=" + config, "--output=" + output,
	}
	return append(args, grubModules()...)
}

// LoadGRUB takes boot.img from the tools tree and has its grub-mkimage make
// the core image for disks of a layout. The same tools tree and layout give the
// same bytes.
func LoadGRUB(ctx context.Context, t Tools, l partitions.Layout) (*GRUB, error) {
	esp, ok := l.Partition(LabelESP)
	if !ok {
		return nil, fmt.Errorf("GRUB: the layout has no partition %q", LabelESP)
	}
	boot, err := os.ReadFile(filepath.Join(t.Path(grubDirectory), "boot.img"))
	if err != nil {
		return nil, fmt.Errorf("GRUB: %w", err)
	}
	dir, err := os.MkdirTemp("", "slipway-grub-")
	if err != nil {
		return nil, fmt.Errorf("GRUB: %w", err)
	}
	defer os.RemoveAll(dir)
	config, output := filepath.Join(dir, "early.cfg"), filepath.Join(dir, "core.img")
	if err := os.WriteFile(config, []byte(grubConfig(esp)), 0o600); err != nil {
		return nil, fmt.Errorf("GRUB: %w", err)
	}
	var stderr bytes.Buffer
	cmd := t.Command(ctx, "grub-mkimage", grubMkimageArgs(t.Path(grubDirectory), config, output)...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, fmt.Errorf("grub-mkimage: %w", err)
	}
	core, err := os.ReadFile(output)
	if err != nil {
		return nil, fmt.Errorf("grub-mkimage: %w", err)
	}
	return &GRUB{Boot: boot, Core: core}, nil
}

// bootCode returns what replaces the first bytes of the disk: boot.img with
// the sector its core image starts at.
func (g *GRUB) bootCode(coreStart int64) ([]byte, error) {
	if len(g.Boot) != sectorSize || g.Boot[510] != 0x55 || g.Boot[511] != 0xaa {
		return nil, fmt.Errorf("boot.img: not a boot sector of %d bytes", sectorSize)
	}
	code := bytes.Clone(g.Boot[:bootCodeSize])
	binary.LittleEndian.PutUint64(code[bootCoreSector:], uint64(coreStart))
	code[bootDrive] = 0xff
	code[bootDriveCheck], code[bootDriveCheck+1] = nop, nop
	return code, nil
}

// coreImage returns the core image for a partition that starts at the sector:
// its first sector loads the others by their place on the disk.
func (g *GRUB) coreImage(start int64) ([]byte, error) {
	sectors := (len(g.Core) + sectorSize - 1) / sectorSize
	if sectors < 2 {
		return nil, errors.New("core.img: less than two sectors")
	}
	if sectors > coreMaxSectors {
		return nil, fmt.Errorf("core.img: %d sectors, GRUB's block list holds %d",
			sectors, coreMaxSectors)
	}
	core := make([]byte, sectors*sectorSize)
	copy(core, g.Core)
	binary.LittleEndian.PutUint64(core[coreBlockList:], uint64(start+1))
	binary.LittleEndian.PutUint16(core[coreBlockList+8:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(core[coreBlockList+10:], coreSegment)
	return core, nil
}
