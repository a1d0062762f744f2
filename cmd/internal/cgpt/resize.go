package cgpt

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"slipway/partitions"
)

// resize extends a partition into the free space behind it.
func (r *run) resize(args []string) int {
	least := uint64(2 << 20)
	var number uint64
	usage := r.usage("resize [OPTIONS] PARTITION | -i NUM DRIVE",
		"Extend a partition up to the next one or the end of the drive, moving the\n"+
			"secondary table there first if the drive grew.",
		"  -i NUM       Partition to extend, if a drive is given\n"+
			"  -m NUM       Do nothing unless partition can grow by NUM bytes\n"+
			"                 (default 2 MiB)\n")
	rest, code, done := options{r: r, spec: "hm:i:D:", usage: usage, set: func(c byte, arg string) int {
		switch c {
		case 'D':
			return r.driveSize(arg)
		case 'i':
			return r.number(c, arg, &number)
		}
		return r.number(c, arg, &least)
	}}.parse(args)
	if done {
		return code
	}
	if len(rest) == 0 {
		return r.errorf("missing partition argument\n")
	}
	return r.on(rest, true, func(d *drive) int { return d.resize(number, least) })
}

// resize extends the partition of that number, or the one the drive was named
// by.
func (d *drive) resize(number, least uint64) int {
	r := d.r
	if number == 0 {
		number = uint64(d.part)
	}
	if number == 0 || number > maxEntries {
		return r.errorf("%s: not a partition, and -i names none\n", d.path)
	}
	return d.extend(int(number), least)
}

func (d *drive) extend(number int, least uint64) int {
	r := d.r
	t, ok := d.table()
	if !ok {
		return 1
	}
	last, err := t.Room(number)
	if err != nil {
		return r.errorf("%s: %v\n", d.path, err)
	}
	p, _ := t.Partition(number)
	gain := max(last-p.End(), 0) * int64(d.sectorSize)
	if gain == 0 || uint64(gain) < least {
		return 0
	}
	if err := d.tellKernel(number, p.Start, last-p.Start+1); err != nil {
		return r.errorf("Failed to notify kernel of new partition size: %s\n"+
			"Leaving existing partition table in place.\n", cause(err))
	}
	if err := partitions.Grow(d.file, t, number); err != nil {
		return r.errorf("%s: %v\n", d.path, err)
	}
	return 0
}

// tellKernel announces a partition's new size in sectors without reading the
// table again, which works while the partition is in use. An image file has
// no kernel to tell.
func (d *drive) tellKernel(number int, start, size int64) error {
	info, err := d.file.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return err
	}
	p := unix.BlkpgPartition{
		Start: start * int64(d.sectorSize), Length: size * int64(d.sectorSize), Pno: int32(number),
	}
	arg := unix.BlkpgIoctlArg{
		Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
