package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Extent is a stretch of a disk and what it holds. Places and sizes are bytes,
// multiples of 512.
type Extent struct {
	Offset, Size int64
	Data         []byte // of Size bytes; nil is zeros
}

// Write changes the disk of a machine that is off.
func (v *VM) Write(ctx context.Context, extents []Extent) error {
	if v.Running() {
		return errors.New("VM: is on; its disk can only be changed while it is off")
	}
	if len(extents) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(v.files.dir, "write-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args, err := writeArgs(v.files.overlay(), dir, extents)
	if err != nil {
		return err
	}
	return v.tool(ctx, "qemu-io", args)
}

// writeArgs is the command line of qemu-io that writes the extents, whose data
// it leaves in a directory.
func writeArgs(image, dir string, extents []Extent) ([]string, error) {
	args := []string{"-t", "unsafe", "-f", "qcow2"}
	for i, e := range extents {
		if e.Data == nil {
			args = append(args, "-c", fmt.Sprintf("write -q -z %d %d", e.Offset, e.Size))
			continue
		}
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, e.Data, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-c", fmt.Sprintf("write -q -s %s %d %d", name, e.Offset, len(e.Data)))
	}
	return append(args, image), nil
}

// Commit puts what the guest wrote into the image that the machine was made
// from, which is the one exception to it never being written to. The machine
// is off, and of no more use.
func (v *VM) Commit(ctx context.Context) error {
	if v.Running() {
		return errors.New("VM: is on; its disk cannot be committed")
	}
	return v.tool(ctx, "qemu-img", []string{"commit", "-q", "-t", "unsafe", "-d", v.files.overlay()})
}

// WriteLog is the record of everything the guest wrote and flushed, if the
// machine was made with LogWrites, in the format of the kernel's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst). It is complete
// while the machine is off.
func (v *VM) WriteLog() string { return v.files.writeLog() }
