// Package disk assembles the raw image of a disk: partition table, boot code
// for BIOS machines and the content of the partitions.
//
// It does not make file systems out of slots, format the root partition or
// convert images; and it needs no privileges, for partitions are ranges of
// bytes to it.
package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"slipway/partitions"
)

// Labels of the partitions this package knows the content of.
const (
	LabelESP      = "EFI-SYSTEM"
	LabelBIOSBoot = "BIOS-BOOT"
	LabelOEM      = "OEM"
)

const sectorSize = 512 // of GRUB's block lists

// File is where the image goes, such as an *os.File open for reading and
// writing. What it holds is lost.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// unsynced is a File as a partitions.Device. The order of writes matters on a
// disk that is in use; nobody uses this one before it is complete.
type unsynced struct{ File }

func (unsynced) Sync() error { return nil }

// Options says what is on the disk.
type Options struct {
	Layout   partitions.Layout
	Contents map[string]Content // by label; a partition without content is zeros
	GRUB     *GRUB              // fills BIOS-BOOT and the boot code; nil leaves both out
}

// SizeError says that content does not fit its partition. Sizes are bytes.
type SizeError struct {
	Partition         string
	Content, Capacity int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("partition %q: content is %d bytes, partition holds %d: %d too many",
		e.Partition, e.Content, e.Capacity, e.Content-e.Capacity)
}

// Write writes the disk. Nothing is written unless everything fits. Where
// there are only zeros the file gets holes. Equal options give equal bytes.
// The caller syncs and names the file; an unfinished one is of no use.
func Write(ctx context.Context, f File, o *Options) error {
	contents := maps.Clone(o.Contents)
	if contents == nil {
		contents = map[string]Content{}
	}
	var code []byte
	if o.GRUB != nil {
		var err error
		if code, err = o.embed(contents); err != nil {
			return err
		}
	}
	if err := check(o.Layout, contents); err != nil {
		return err
	}

	size := o.Layout.DiskSize()
	// What was in the file must not show where there should be zeros.
	if err := errors.Join(f.Truncate(0), f.Truncate(size)); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if err := partitions.Create(unsynced{f}, size, o.Layout); err != nil {
		return err
	}
	if err := readBack(f, o.Layout); err != nil {
		return err
	}
	if _, err := f.WriteAt(code, 0); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	for _, label := range slices.Sorted(maps.Keys(contents)) {
		p, _ := o.Layout.Partition(label)
		if err := contents[label].copyTo(ctx, f, o.Layout.Offset(p)); err != nil {
			return fmt.Errorf("partition %q: %w", label, err)
		}
	}
	return nil
}

// embed adds GRUB's core image to the contents and returns the boot code.
func (o *Options) embed(contents map[string]Content) ([]byte, error) {
	if o.Layout.SectorSize != sectorSize {
		return nil, fmt.Errorf("GRUB: sectors are %d bytes, BIOS machines start from %d",
			o.Layout.SectorSize, sectorSize)
	}
	p, ok := o.Layout.Partition(LabelBIOSBoot)
	if !ok {
		return nil, fmt.Errorf("GRUB: the layout has no partition %q", LabelBIOSBoot)
	}
	core, err := o.GRUB.coreImage(p.Start)
	if err != nil {
		return nil, err
	}
	contents[LabelBIOSBoot] = Content{Data: bytes.NewReader(core), Size: int64(len(core))}
	return o.GRUB.bootCode(p.Start)
}

// check returns everything that does not fit, joined.
func check(l partitions.Layout, contents map[string]Content) error {
	errs := []error{l.Validate()}
	for _, label := range slices.Sorted(maps.Keys(contents)) {
		p, ok := l.Partition(label)
		if !ok {
			errs = append(errs, fmt.Errorf("partition %q: there is content, but it is not in the layout", label))
			continue
		}
		capacity := p.Size * int64(l.SectorSize)
		if size := contents[label].Size; size > capacity {
			errs = append(errs, &SizeError{Partition: label, Content: size, Capacity: capacity})
		}
	}
	return errors.Join(errs...)
}
