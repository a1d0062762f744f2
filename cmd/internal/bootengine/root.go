package bootengine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
)

const (
	rootMount = "/sysroot"
	rootLabel = "ROOT"
	growMin   = 2 << 20  // bytes a partition must gain to be grown
	fsGrowMin = 16 << 20 // bytes a file system must gain to be grown
)

// prepareRoot makes, checks, grows and mounts ROOT.
func (e *engine) prepareRoot(d *disk) error {
	p, ok := rootPartition(d.table)
	if !ok {
		return fmt.Errorf("disk %s: no partition for %s", d.name, rootLabel)
	}
	if err := growPartition(d, p.Number); err != nil {
		e.say("%s: grow the partition: %v", rootLabel, err)
	}
	p, _ = d.table.Partition(p.Number)
	size := p.Size * int64(d.table.SectorSize)
	device := "/dev/" + blockdev.Partition(d.name, p.Number)
	ext, err := e.ensureFileSystem(device, size)
	if err != nil {
		return fmt.Errorf("%s: %w", rootLabel, err)
	}
	if err := os.MkdirAll(rootMount, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(device, rootMount, "ext4", 0, ""); err != nil {
		return fmt.Errorf("%s: mount %s: %w", rootLabel, device, err)
	}
	if blocks, grow := planFSGrow(ext, size); grow {
		if err := growFileSystem(rootMount, blocks); err != nil {
			e.say("%s: grow the file system to %d blocks: %v", rootLabel, blocks, err)
		}
	}
	return nil
}

// rootPartition is the partition that holds the machine's state: of CoreOS's
// type "resize" and, if there are several, labelled ROOT.
func rootPartition(t *partitions.Table) (found partitions.Partition, ok bool) {
	for _, p := range t.Partitions {
		if strings.EqualFold(p.Type.String(), partitions.TypeResize) && (!ok || p.Label == rootLabel) {
			found, ok = p, true
		}
	}
	return found, ok
}

// planGrow says whether the partition should be made to reach as far as it can:
// when the disk grew, or when there is room behind it.
func planGrow(t *partitions.Table, number int) bool {
	p, ok := t.Partition(number)
	if !ok {
		return false
	}
	last, err := t.Room(number)
	return err == nil && (last-p.End())*int64(t.SectorSize) >= growMin
}

// growPartition grows the partition on the disk and tells the kernel.
func growPartition(d *disk, number int) error {
	if !planGrow(d.table, number) {
		return nil
	}
	if err := partitions.Grow(d.file, d.table, number); err != nil {
		return err
	}
	p, _ := d.table.Partition(number)
	return resizeInKernel(d, p)
}

// ensureFileSystem leaves a sound ext4 on the device, whose size is in bytes.
// What is neither ext4 nor blank is somebody's data and is not touched.
func (e *engine) ensureFileSystem(device string, size int64) (*ext4, error) {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, blankCheck)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	plan, ext := planRoot(head)
	switch plan {
	case rootForeign:
		return nil, fmt.Errorf("%s is neither an ext4 file system nor blank; it is left alone", device)
	case rootCheck:
		e.say("%s: was not left clean, checking it", rootLabel)
		return ext, e.checkFileSystem(device)
	case rootMake:
		if err := makeFileSystem(f, size); err != nil {
			return nil, fmt.Errorf("make a file system: %w", err)
		}
		if _, err := f.ReadAt(head, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", device, err)
		}
		if plan, ext = planRoot(head); plan != rootReady {
			return nil, errors.New("the new file system is not one")
		}
	}
	return ext, nil
}

// checkFileSystem repairs what can be repaired without asking. That can take
// long: e2fsck tells how it gets on, which keeps the watchdog calm.
func (e *engine) checkFileSystem(device string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			e.watchdog.ping()
		}
	}()
	// What is in ExtraFiles is file 3 for the program, and -C takes its number.
	cmd, err := fromSlot("sbin/e2fsck", "-p", "-C", "3", device)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	cmd.ExtraFiles = []*os.File{w}
	err = errors.Join(runProgram(cmd), w.Close())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil // errors were corrected
	}
	return err
}

// growFileSystem asks ext4 to use the given number of blocks, while mounted.
func growFileSystem(mount string, blocks uint64) error {
	dir, err := os.Open(mount)
	if err != nil {
		return err
	}
	defer dir.Close()
	return ioctlPointer(dir, ext4ResizeFS, &blocks)
}

// fromSlot prepares a program of the slot.
func fromSlot(program string, args ...string) (*exec.Cmd, error) {
	// The programs ask for their loader at /lib64/ld-linux-x86-64.so.2.
	if err := os.Symlink("usr/lib64", "/lib64"); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return exec.Command(filepath.Join(usrMount, program), args...), nil
}

// runProgram runs a program; its output is part of the error.
func runProgram(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.Join(strings.Fields(string(out)), " ")
		return fmt.Errorf("%s: %w: %.300s", filepath.Base(cmd.Path), err, text)
	}
	return nil
}
