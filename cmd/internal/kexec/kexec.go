// Package kexec has the running kernel start another one, out of a unified
// kernel image: kexec_file_load(2). The boot engine does so for a slot whose
// kernel is not the running one, and a machine that restarts past its firmware.
//
// It checks that the image is the one it should be. Whether that may be trusted
// is for the caller to know.
package kexec

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/build/uki"
	"slipway/partitions"
	"slipway/signing/footer"
)

// Kernel is a kernel that is ready to be loaded.
type Kernel struct {
	// Initrd is its initramfs, in memory, open where it ends: it may be added to.
	Initrd *os.File
	// CommandLine is the image's own. Add to it what the kernel has to know.
	CommandLine string

	linux *os.File // in memory
}

// Read takes a kernel out of its image, whose size and digest the footer of a
// slot says. Whatever r gives the second time it is read must be the same.
func Read(r io.ReaderAt, want *footer.UKI) (k *Kernel, err error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(r, 0, want.Size+1))
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != want.Size || got != want.SHA256 {
		return nil, fmt.Errorf("SHA-256 %s, want %s", got, want.SHA256)
	}
	image, err := uki.Read(r, n)
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
	k = &Kernel{CommandLine: strings.TrimSpace(text)}
	if k.linux, err = sectionFile(image, ".linux"); err != nil {
		return nil, err
	}
	if k.Initrd, err = sectionFile(image, ".initrd"); err != nil {
		return nil, errors.Join(err, k.linux.Close())
	}
	return k, nil
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

// OnDisk are the words by which the boot engine finds the disk again that the
// machine runs from: any partition of it tells, and of copies the place where it
// is attached, "" if that is not known.
func OnDisk(t *partitions.Table, place string) string {
	var words []string
	if len(t.Partitions) > 0 {
		words = append(words, "slipway.esp="+t.Partitions[0].UUID.String())
	}
	if place != "" {
		words = append(words, "slipway.disk="+place)
	}
	return strings.Join(words, " ")
}

// Add adds words to the command line.
func (k *Kernel) Add(words string) { k.CommandLine = strings.TrimSpace(k.CommandLine + " " + words) }

// Load has the running kernel take it.
func (k *Kernel) Load() error {
	return explain(unix.KexecFileLoad(int(k.linux.Fd()), int(k.Initrd.Fd()), k.CommandLine, 0))
}

// explain says why the running kernel does not take another. Under Secure Boot
// it is locked down (kernel_lockdown(7)) and wants a signature by a key of the
// firmware's variable db on the kernel itself.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED),
		errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM):
		return fmt.Errorf("load its kernel: not signed by a key that this machine's Secure Boot trusts: %w", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("load its kernel: the running one has no kexec: %w", err)
	}
	return fmt.Errorf("load its kernel: %w", err)
}

// Close frees the memory.
func (k *Kernel) Close() { _ = errors.Join(k.linux.Close(), k.Initrd.Close()) }

// Unload has the running kernel forget one that was loaded.
func Unload() error {
	if err := unix.KexecFileLoad(-1, -1, "", unix.KEXEC_FILE_UNLOAD); err != nil {
		return fmt.Errorf("unload the kernel: %w", err)
	}
	return nil
}
