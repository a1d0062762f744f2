package cgpt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
)

// drive is an open disk or image with the four parts of its table as they
// were read.
type drive struct {
	r          *run
	file       *blockdev.File
	path       string
	size       uint64
	sectorSize int
	sectors    uint64
	// part is the partition's number if path named a partition device.
	part uint32

	headers [2]header
	arrays  [2][]byte
	checks
}

// The two copies, as indexes and as bits.
const (
	primary   = 0
	secondary = 1

	maskPrimary   = 1 << primary
	maskSecondary = 1 << secondary
	maskBoth      = maskPrimary | maskSecondary
)

// open opens a drive, for writing if asked, and reads its table without
// judging it. A partition device opens its disk. What is wrong has been
// printed if ok is false.
func (r *run) open(path string, write bool) (d *drive, ok bool) {
	d = &drive{r: r, path: path}
	d.path, d.part = r.wholeDisk(path)
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	var err error
	if d.file, err = blockdev.Open(d.path, mode); err != nil {
		r.errorf("Can't open %s: %s\n", d.path, cause(err))
		return nil, false
	}
	if write {
		// Our other programs and those that look at block devices, udev first,
		// wait for this. Where it does not work, nobody uses it.
		_ = unix.Flock(int(d.file.Fd()), unix.LOCK_EX)
	}
	if !d.measure() || !d.load() {
		d.close()
		return nil, false
	}
	return d, true
}

func (d *drive) close() { _ = d.file.Close() }

// on opens the drive that is the first argument behind a command's options
// and does something with it. It returns the exit code.
func (r *run) on(args []string, write bool, do func(*drive) int) int {
	if len(args) == 0 {
		return r.errorf("missing drive argument\n")
	}
	d, opened := r.open(args[0], write)
	if !opened {
		return 1
	}
	defer d.close()
	return do(d)
}

// measure finds the sizes of the drive and its sectors.
func (d *drive) measure() bool {
	info, err := d.file.Stat()
	d.sectorSize = 512
	switch {
	case err == nil && info.Mode().IsRegular():
		d.size = uint64(info.Size())
		// An image does not tell its sector size; a table of large sectors does.
		if t, err := partitions.Read(d.file, info.Size(), 0); err == nil {
			d.sectorSize = t.SectorSize
		}
	case err == nil && info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		var end int64
		if end, err = d.file.Seek(0, io.SeekEnd); err == nil {
			d.size = uint64(end)
			d.sectorSize, err = unix.IoctlGetInt(int(d.file.Fd()), unix.BLKSSZGET)
		}
	case err == nil:
		err = syscall.ENOTTY
	}
	if err != nil {
		d.r.errorf("Can't get drive size and bytes per sector for %s: %s\n", d.path, cause(err))
		return false
	}
	return true
}

// load reads both headers, and the arrays of those that are good.
func (d *drive) load() bool {
	r := d.r
	if d.size%uint64(d.sectorSize) != 0 {
		r.errorf("Media size (%d) is not a multiple of sector size(%d)\n", d.size, d.sectorSize)
		return false
	}
	d.sectors = d.size / uint64(d.sectorSize)
	for i, copy := range []struct {
		lba  uint64
		name string
	}{{1, "primary"}, {d.sectors - 1, "secondary"}} {
		b, ok := d.read(copy.lba, 1)
		if !ok {
			r.errorf("Cannot read %s GPT header\n", copy.name)
			return false
		}
		d.headers[i] = b
		d.arrays[i] = make([]byte, maxEntries*entrySize)
	}
	for i, name := range []string{"primary", "secondary"} {
		h := d.headers[i]
		if !h.good(i == secondary, d.sectors, d.sectorSize) {
			state := "invalid"
			if d.headers[primary].signature() == signatureIgnored {
				state = "being ignored"
			}
			r.warnf("%s GPT header is %s\n", strings.ToUpper(name[:1])+name[1:], state)
			continue
		}
		b, ok := d.read(h.entriesLBA(), h.arraySectors(d.sectorSize))
		if !ok {
			r.errorf("Cannot read %s partition entry array\n", name)
			return false
		}
		d.arrays[i] = b
	}
	return true
}

func (d *drive) read(lba, n uint64) ([]byte, bool) {
	b := make([]byte, n*uint64(d.sectorSize))
	if lba > 1<<53 {
		d.r.errorf("Can't seek: %s\n", cause(syscall.EINVAL))
		return nil, false
	}
	got, err := d.file.ReadAt(b, int64(lba)*int64(d.sectorSize))
	if got < len(b) && errors.Is(err, io.EOF) || got == len(b) {
		err = nil
	}
	if got < len(b) || err != nil {
		d.r.errorf("Can't read enough: %d, not %d\n", got, len(b))
		return nil, false
	}
	return b, true
}

// table reads the table once more, as package partitions sees it, to change
// it.
func (d *drive) table() (*partitions.Table, bool) {
	t, err := partitions.Read(d.file, int64(d.size), d.sectorSize)
	if err != nil {
		d.r.errorf("%s: %v\n", d.path, err)
		return nil, false
	}
	return t, true
}

// update writes a change, unless it takes away the last bootable slot, and
// returns the exit code.
func (d *drive) update(t *partitions.Table, c partitions.Change) int {
	c.Force = d.r.force
	switch err := partitions.Update(d.file, t, c); {
	case errors.Is(err, partitions.ErrNoSlot):
		return d.lastSlot()
	case err != nil:
		return d.r.errorf("%s: %v\n", d.path, err)
	}
	return 0
}

// lastSlot refuses to take away the last bootable slot.
func (d *drive) lastSlot() int {
	return d.r.errorf("%s: %v; --force does it all the same\n", d.path, partitions.ErrNoSlot)
}

// mayLose says whether the whole table may go, which without --force it may
// not if the disk boots.
func (d *drive) mayLose() bool {
	t := d.current()
	if d.r.force || t == nil {
		return true
	}
	_, boots := partitions.Next(t)
	if boots {
		d.lastSlot()
	}
	return !boots
}

// current is the table on the disk, nil if there is none.
func (d *drive) current() *partitions.Table {
	t, err := partitions.Read(d.file, int64(d.size), d.sectorSize)
	if err != nil {
		return nil
	}
	return t
}

// raw writes parts of the table that package partitions cannot express, the
// secondary copy first, with a sync behind each copy.
func (d *drive) raw(headers, arrays int) int {
	for _, i := range []int{secondary, primary} {
		h := d.headers[i]
		var err error
		if arrays>>i&1 == 1 {
			_, err = d.file.WriteAt(d.arrays[i], int64(h.entriesLBA())*int64(d.sectorSize))
		}
		if err == nil && headers>>i&1 == 1 {
			lba := uint64(1)
			if i == secondary {
				lba = d.sectors - 1
			}
			_, err = d.file.WriteAt(h, int64(lba)*int64(d.sectorSize))
		}
		if err == nil {
			err = d.file.Sync()
		}
		if err != nil {
			return d.r.errorf("Cannot write %s: %s\n", d.path, cause(err))
		}
	}
	return 0
}

// cause is the C library's text for the reason of an error.
func cause(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Sprint(err)
	}
	s := errno.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
