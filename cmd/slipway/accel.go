package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"slipway/build/uki"
	"slipway/cmd/internal/inspect"
	"slipway/qemu-tests/vm"
)

// proveAccel turns auto into what works here, by starting the image's own
// kernel once per boot of the host.
func proveAccel(ctx context.Context, w *workspace, tools vm.Tools, disk string, asked vm.Accel) (vm.Accel, string, error) {
	if asked != vm.Auto {
		return asked, "as told", nil
	}
	scratch, err := os.MkdirTemp("", "slipway-kvm-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(scratch)
	kernel := filepath.Join(scratch, "vmlinuz")
	if err := extractKernel(disk, kernel); err != nil {
		return "", "", err
	}
	probe := &vm.Probe{Tools: tools, Kernel: kernel, Cache: filepath.Join(w.cache, "kvm")}
	return probe.Choose(ctx, asked)
}

// extractKernel takes the kernel out of the UKI of the slot that would boot.
func extractKernel(disk, name string) (err error) {
	f, size, err := openImage(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := inspect.Open(f, size, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", disk, err)
	}
	slot, err := image.Active()
	if err != nil {
		return err
	}
	usr, err := slot.Usr()
	if err != nil {
		return err
	}
	_, n, err := inspect.Find(usr, "/usr/"+ukiPath)
	if err != nil {
		return err
	}
	r, err := n.Blob.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	at, ok := r.(io.ReaderAt)
	if !ok {
		return errors.New("internal error: a slot's file cannot be read at an offset")
	}
	unified, err := uki.Read(at, n.Size())
	if err != nil {
		return err
	}
	linux, err := unified.Section(".linux")
	if err != nil {
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, linux.Open())
	return err
}
