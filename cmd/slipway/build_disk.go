package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/cmd/internal/hint"
	"slipway/partitions"
)

// diskOptions is what a disk image is made of.
type diskOptions struct {
	layout  partitions.Layout
	slot    string // path of the slot image
	uki     tree.Blob
	grub    *disk.GRUB
	version string
	channel string
	time    int64
	scratch string // directory for the file systems of the small partitions
}

// diskLayout is the standard layout with UUIDs that follow from the version.
func diskLayout(version string) partitions.Layout {
	return partitions.DefaultLayout(partitions.SeededUUIDs(uuid.NewSHA1(namespace, []byte("disk "+version))))
}

// writeDisk writes the disk image to name.
func writeDisk(ctx context.Context, name string, o *diskOptions) (err error) {
	if p, ok := o.layout.Partition(disk.LabelESP); ok {
		if err := disk.CheckESP(p.Size*int64(o.layout.SectorSize), o.uki.Size()); err != nil {
			return hint.Add(err, "list fewer kernel modules under `kernel: modules:` in the overlays")
		}
	}
	esp, err := disk.ESP(o.uki, o.time)
	if err != nil {
		return err
	}
	oem, err := disk.OEM("qemu", o.version, o.channel, o.time)
	if err != nil {
		return err
	}
	contents := map[string]disk.Content{}
	for label, t := range map[string]*tree.Tree{disk.LabelESP: esp, disk.LabelOEM: oem} {
		f, size, err := o.writeFAT(label, t)
		if err != nil {
			return err
		}
		defer f.Close()
		contents[label] = disk.Content{Data: f, Size: size}
	}
	slot, err := os.Open(o.slot)
	if err != nil {
		return err
	}
	defer slot.Close()
	st, err := slot.Stat()
	if err != nil {
		return err
	}
	contents["USR-A"] = disk.Content{Data: slot, Size: st.Size()}

	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return disk.Write(ctx, f, &disk.Options{Layout: o.layout, Contents: contents, GRUB: o.grub})
}

// writeFAT makes the file system of a small partition in an unnamed file.
func (o *diskOptions) writeFAT(label string, t *tree.Tree) (*os.File, int64, error) {
	p, ok := o.layout.Partition(label)
	if !ok {
		return nil, 0, errors.New("layout: no partition " + label)
	}
	size := p.Size * int64(o.layout.SectorSize)
	f, err := os.CreateTemp(o.scratch, "fat-")
	if err != nil {
		return nil, 0, err
	}
	os.Remove(f.Name())
	if err := f.Truncate(size); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if err := o.formatFAT(f, size, label, t); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// formatFAT writes the file system of a small partition. What of it is not
// written has to be zero.
func (o *diskOptions) formatFAT(w io.WriterAt, size int64, label string, t *tree.Tree) error {
	id := uuid.NewSHA1(namespace, []byte(label+" "+o.version))
	err := fat.Write(w, size, t, &fat.Options{
		Label:  label,
		Serial: uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]),
		Time:   o.time,
	})
	if err != nil {
		err = fmt.Errorf("partition %q: %w", label, err)
		if label == disk.LabelESP {
			err = hint.Add(fmt.Errorf("%w; kernel and initramfs are %s", err, megabytes(o.uki.Size())),
				"list fewer kernel modules under `kernel: modules:` in the overlays")
		}
	}
	return err
}
