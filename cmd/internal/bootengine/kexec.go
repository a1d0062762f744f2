package bootengine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/build/uki"
)

// kernel is a slot's own kernel, ready to be loaded.
type kernel struct {
	linux, initrd *os.File // in memory
	cmdline       string
}

func (k *kernel) close() { _ = errors.Join(k.linux.Close(), k.initrd.Close()) }

// startKernel starts the slot's own kernel, to which it hands over what was
// found out so far. It returns only with an error.
func (e *engine) startKernel(s *slot, failures []failure) error {
	defer s.kernel.close()
	h := handover{Failures: failures, Hung: e.watchdog.fired, Said: e.said}
	if err := h.appendTo(s.kernel.initrd); err != nil {
		return err
	}
	err := unix.KexecFileLoad(int(s.kernel.linux.Fd()), int(s.kernel.initrd.Fd()), s.kernel.cmdline, 0)
	if err != nil {
		return kexecProblem(err)
	}
	e.say("%s: version %s brings another kernel: starting it", s.part.Label, s.footer.Version)
	e.lap("kexec")
	e.say("boot %s (to be continued by the slot's kernel)", &e.clock)
	unix.Sync()
	return fmt.Errorf("start its kernel: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC))
}

// kexecProblem says why the running kernel does not take another. Under Secure
// Boot it is locked down (kernel_lockdown(7)) and wants a signature by a key of
// the firmware's variable db on the kernel itself.
func kexecProblem(err error) error {
	switch {
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM):
		return fmt.Errorf("load its kernel: not signed by a key that this machine's Secure Boot trusts: %w", err)
	}
	return fmt.Errorf("load its kernel: %w", err)
}

// readKernel takes the kernel out of the slot's UKI, which the footer vouches
// for.
func readKernel(s *slot, d *disk) (k *kernel, err error) {
	f, err := os.Open(filepath.Join(usrMount, s.footer.UKI.Path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, s.footer.UKI.Size+1))
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != s.footer.UKI.Size || got != s.footer.UKI.SHA256 {
		return nil, fmt.Errorf("SHA-256 %s, want %s", got, s.footer.UKI.SHA256)
	}
	image, err := uki.Read(f, n)
	if err != nil {
		return nil, err
	}
	section, err := image.Section(".cmdline")
	if err != nil {
		return nil, err
	}
	text, err := section.Text()
	if err != nil {
		return nil, err
	}
	k = &kernel{cmdline: kexecCommandLine(text, s.part.Number, d)}
	if k.linux, err = sectionFile(image, ".linux"); err != nil {
		return nil, err
	}
	if k.initrd, err = sectionFile(image, ".initrd"); err != nil {
		return nil, errors.Join(err, k.linux.Close())
	}
	return k, nil
}

// kexecCommandLine adds to the slot's own command line what was found out and
// must not be found out again.
func kexecCommandLine(own string, slot int, d *disk) string {
	words := []string{strings.TrimSpace(own), fmt.Sprintf("slipway.slot=%d", slot)}
	// Any partition's UUID tells the disk again; the first one is the ESP.
	if len(d.table.Partitions) > 0 {
		words = append(words, "slipway.esp="+d.table.Partitions[0].UUID.String())
	}
	if d.place != "" {
		words = append(words, "slipway.disk="+d.place)
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
