// Package nextkernel gets the kernel ready that a restart would start, so that
// the restart can go past the machine's firmware. It is the program "slipway-host
// kexec", which a unit runs when REBOOT_METHOD is kexec.
//
// It chooses the slot as the boot engine will and takes no try from it: the boot
// engine of the kernel that is loaded chooses again, as after the firmware. The
// slot's footer has to be signed by an image key that the running version trusts,
// and the kernel to be the one that the footer names. The slot's other content is
// the boot engine's to verify.
//
// Whatever is in the way is one line, and the machine restarts by its firmware.
package nextkernel

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway/build/erofs"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/cmd/internal/blockdev"
	"slipway/cmd/internal/kexec"
	"slipway/cmd/internal/slots"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/keyset"
)

const maxUKI = 128 << 20 // bytes

// Env is what the program sees of the world.
type Env struct {
	Name           string // of the program, in usage texts
	Stdout, Stderr io.Writer
	Machine        slots.Machine
	// Load has the running kernel take another, Unload has it forget one.
	Load   func(*kexec.Kernel) error
	Unload func() error
}

// Host is the Env of a running machine.
func Host(name string) *Env {
	return &Env{
		Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Machine: slots.Host(),
		Load: (*kexec.Kernel).Load, Unload: kexec.Unload,
	}
}

// Unload has the running kernel forget one that was loaded.
func Unload() error { return kexec.Unload() }

// Running is the version that runs, "" if the machine did not start from a slot.
func Running() string {
	b, err := slots.Host().Boot()
	if err != nil {
		return ""
	}
	return b.Version
}

// Version is what the footer of the slot claims that a restart starts, "" if
// that is the running one or cannot be read.
func Version() string {
	s, err := open(slots.Host())
	if err != nil {
		return ""
	}
	defer s.close()
	foot, _, err := footer.Inspect(s.file, s.size)
	if err != nil {
		return ""
	}
	return foot.Version
}

// Main is the program "slipway-host kexec". A kernel that is not loaded is no
// failure: the restart goes another way.
func Main(ctx context.Context, args []string, e *Env) int {
	if len(args) > 0 {
		fmt.Fprintf(e.Stderr, "usage: %s\n"+
			"Loads the kernel that a restart would start, for \"systemctl kexec\".\n", e.Name)
		return 2
	}
	line, err := e.load(ctx)
	if err != nil {
		// One that was loaded for another restart must not be started now.
		_ = e.Unload()
		line = "restarting by way of the firmware: " + err.Error()
	}
	fmt.Fprintln(e.Stdout, line)
	return 0
}

// load loads the kernel and says what was done.
func (e *Env) load(ctx context.Context) (line string, err error) {
	s, err := open(e.Machine)
	if err != nil {
		return "", err
	}
	defer s.close()
	keys, built, err := e.Machine.Keys()
	if err != nil {
		return "", err
	}
	foot, err := footer.Read(s.file, s.size, keys.Trusted(keyset.Image, built))
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.label, err)
	}
	k, err := s.kernel(foot)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.label, err)
	}
	defer k.Close()
	if !s.proven {
		if err := s.verify(ctx, foot); err != nil {
			return "", fmt.Errorf("%s: %w", s.label, err)
		}
		k.Add("slipway.verify=lazy")
	}
	sys := os.DirFS(filepath.Join(e.Machine.Root, "sys"))
	k.Add(kexec.OnDisk(s.table, blockdev.Place(sys, filepath.Base(s.disk))))
	if err := e.Load(k); err != nil {
		return "", fmt.Errorf("%s: %w", s.label, err)
	}
	return fmt.Sprintf("%s: the kernel of version %s is loaded: the restart goes past the firmware",
		s.label, foot.Version), nil
}

// slot is the slot that a restart would start, another than the running one.
type slot struct {
	label string
	disk  string // "/dev/vda"
	table *partitions.Table
	file  *os.File
	size  int64
	// proven says that the slot has been healthy before.
	proven bool
}

func (s *slot) close() { _ = s.file.Close() }

// open finds the slot.
func open(m slots.Machine) (*slot, error) {
	b, err := m.Boot()
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("this machine was not started from a slot")
	}
	if err != nil {
		return nil, err
	}
	d, err := m.Open(b, false)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if _, err := d.Running(b); err != nil {
		return nil, err
	}
	number, ok := partitions.Next(d.Table)
	switch {
	case !ok:
		return nil, errors.New("there is no slot to start")
	case number == b.Partition:
		return nil, fmt.Errorf("no other slot is to be started than the running %s", b.Slot)
	}
	p, _ := d.Table.Partition(number)
	s := &slot{label: p.Label, disk: d.Path(), table: d.Table, size: d.Size(p), proven: p.Attributes.Successful()}
	s.file, err = os.Open(d.Node(number))
	return s, err
}

// verify compares every block of the slot with the root hash in its footer.
func (s *slot) verify(ctx context.Context, foot *footer.Footer) error {
	salt, err := hex.DecodeString(foot.Salt)
	if err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	var root [32]byte
	if _, err := hex.Decode(root[:], []byte(foot.RootHash)); err != nil {
		return fmt.Errorf("root hash: %w", err)
	}
	err = verity.Verify(ctx, s.file, foot.FSSize, s.file, foot.HashOffset, root, salt, 1)
	// The page cache is for what the machine still does.
	_ = unix.Fadvise(int(s.file.Fd()), 0, 0, unix.FADV_DONTNEED)
	return err
}

// kernel takes the kernel out of the slot. Everything that is used of it is read
// once, into memory, and checked there.
func (s *slot) kernel(foot *footer.Footer) (*kexec.Kernel, error) {
	if foot.UKI.Size > maxUKI {
		return nil, fmt.Errorf("kernel image of %d bytes, want at most %d", foot.UKI.Size, maxUKI)
	}
	usr, err := erofs.Open(io.NewSectionReader(s.file, 0, foot.FSSize), foot.FSSize)
	if err != nil {
		return nil, err
	}
	n := usr.Lookup(foot.UKI.Path)
	if n == nil || n.Blob == nil || n.Size() != foot.UKI.Size {
		return nil, fmt.Errorf("/usr/%s: no file of %d bytes", foot.UKI.Path, foot.UKI.Size)
	}
	image, err := tree.ReadAll(n.Blob)
	if err != nil {
		return nil, fmt.Errorf("/usr/%s: %w", foot.UKI.Path, err)
	}
	k, err := kexec.Read(bytes.NewReader(image), &foot.UKI)
	if err != nil {
		return nil, fmt.Errorf("its kernel: %w", err)
	}
	return k, nil
}
