package health

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/cmd/internal/slots"
	"slipway/partitions"
)

// mend makes both copies of the partition table good and equal.
func (w *watch) mend(d *slots.Drive) {
	if !d.Table.Damaged() {
		return
	}
	if err := partitions.Repair(d, d.Table); err != nil {
		w.problem("mend the partition table", err)
		return
	}
	w.say("disk %s: a damaged or misplaced copy of the partition table was mended", d.Path())
}

// refresh makes stage 1 on the EFI system partition this version's, so that
// the next start needs no kexec. Any stage 1 can start any version: if this
// does not work out the machine only starts more slowly.
func (w *watch) refresh(d *slots.Drive) {
	if w.state.Stage1 == w.boot.RootHash {
		return
	}
	changed, err := w.replaceStage1(d)
	if err != nil {
		w.problem("stage 1", err)
		return
	}
	if changed {
		w.say("stage 1 is that of version %s now", w.boot.Version)
	}
	w.state.Stage1 = w.boot.RootHash
	w.save()
}

func (w *watch) replaceStage1(d *slots.Drive) (changed bool, err error) {
	number := 0
	for _, p := range d.Table.Partitions {
		if p.Type.String() == partitions.TypeEFI && number == 0 {
			number = p.Number
		}
	}
	if number == 0 {
		return false, fmt.Errorf("disk %s: no EFI system partition", d.Path())
	}
	stage, err := os.Open(w.path(stagePath))
	if err != nil {
		return false, err
	}
	defer stage.Close()
	info, err := stage.Stat()
	if err != nil {
		return false, err
	}
	if err := w.startable(stage, info.Size()); err != nil {
		return false, err
	}
	device := d.Device(number)
	// Exclusive: the kernel refuses if the file system is mounted.
	esp, err := os.OpenFile(filepath.Join(w.Root, device), os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return false, fmt.Errorf("%s is mounted: left alone until the next start", device)
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, esp.Close()) }()
	size, err := esp.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	changed, err = fat.Replace(esp, size, fat.Replacement{Path: disk.BootPath, Content: stage, Size: info.Size()})
	if err != nil {
		err = fmt.Errorf("%s: %w", device, err)
	}
	return changed, err
}
