package bootengine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/build/uki"
)

// startKernel starts the slot's own kernel, which is loaded. It returns only
// with an error.
func (e *engine) startKernel(s *slot) error {
	e.say("%s: version %s brings another kernel: starting it", s.part.Label, s.footer.Version)
	e.say("boot %s (to be continued by the slot's kernel)", &e.clock)
	unix.Sync()
	return fmt.Errorf("%s: start its kernel: %w", s.part.Label, unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC))
}

// loadKernel takes the kernel out of the slot's UKI, which the footer vouches
// for, and loads it for kexec.
func (e *engine) loadKernel(s *slot, d *disk) error {
	f, err := os.Open(filepath.Join(usrMount, s.footer.UKI.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, s.footer.UKI.Size+1))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != s.footer.UKI.Size || got != s.footer.UKI.SHA256 {
		return fmt.Errorf("SHA-256 %s, want %s", got, s.footer.UKI.SHA256)
	}
	image, err := uki.Read(f, n)
	if err != nil {
		return err
	}
	kernel, err := sectionFile(image, ".linux")
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := sectionFile(image, ".initrd")
	if err != nil {
		return err
	}
	defer initrd.Close()
	section, err := image.Section(".cmdline")
	if err != nil {
		return err
	}
	text, err := section.Text()
	if err != nil {
		return err
	}
	cmdline := kexecCommandLine(text, s.part.Number, d)
	if err := unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), cmdline, 0); err != nil {
		return fmt.Errorf("load it: %w", err)
	}
	return nil
}

// kexecCommandLine adds to the slot's own command line what was found out and
// must not be found out again.
func kexecCommandLine(own string, slot int, d *disk) string {
	words := []string{strings.TrimSpace(own), fmt.Sprintf("slipway.slot=%d", slot)}
	// Any partition's UUID tells the disk again; the first one is the ESP.
	if len(d.table.Partitions) > 0 {
		words = append(words, "slipway.esp="+d.table.Partitions[0].UUID.String())
	}
	return strings.Join(words, " ")
}

// sectionFile copies a section into a file in memory, which is what the kernel
// takes.
func sectionFile(image *uki.Image, name string) (*os.File, error) {
	section, err := image.Section(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, section.Open()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	return f, nil
}
