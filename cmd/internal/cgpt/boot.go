package cgpt

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
)

// The first sector as SYSLINUX has it: boot code, the GUID of the partition
// to boot, and two magic bytes before the MBR's partitions.
const (
	mbrSize       = 512
	mbrCode       = 424
	mbrGUID       = 424
	mbrMagic      = 444
	mbrPartitions = 446
)

func (d *drive) mbr() ([]byte, error) {
	b := make([]byte, mbrSize)
	_, err := d.file.ReadAt(b, 0)
	return b, err
}

// bootOptions are those of boot.
type bootOptions struct {
	partition uint64
	file      string
	create    bool
}

func (o bootOptions) writes() bool { return o.create || o.partition != 0 || o.file != "" }

func (r *run) boot(args []string) int {
	var o bootOptions
	usage := r.usage("boot [OPTIONS] DRIVE", "Edit the PMBR sector for legacy BIOSes",
		"  -i NUM       Set bootable partition\n"+
			"  -b FILE      Install bootloader code in the PMBR\n"+
			"  -p           Create legacy PMBR partition table\n"+
			"\nWith no options, it will just print the PMBR boot guid\n")
	rest, code, done := options{r: r, spec: "hi:b:pD:", usage: usage, set: func(c byte, arg string) int {
		switch c {
		case 'D':
			return r.driveSize(arg)
		case 'i':
			return r.number(c, arg, &o.partition)
		case 'b':
			o.file = arg
		case 'p':
			o.create = true
		}
		return 0
	}}.parse(args)
	if done {
		return code
	}
	return r.on(rest, o.writes(), func(d *drive) int { return d.boot(o) })
}

// boot changes the first sector and shows the GUID in it.
func (d *drive) boot(o bootOptions) int {
	r := d.r
	mbr, err := d.mbr()
	if err != nil {
		return r.errorf("Unable to read PMBR\n")
	}
	if o.create {
		d.protect(mbr)
	}
	if number := uint32(o.partition); number != 0 {
		if !d.checked() {
			return 1
		}
		if number > maxEntries {
			return r.errorf("invalid partition number: %d\n", int32(number))
		}
		copy(mbr[mbrGUID:], entryAt(d.any(), int(number-1)).unique())
	}
	if o.file != "" && !r.bootCode(mbr[:mbrCode], o.file) {
		return 1
	}
	r.printf("%s\n", guidText(mbr[mbrGUID:]))
	if !o.writes() {
		return 0
	}
	if _, err = d.file.WriteAt(mbr, 0); err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		return r.errorf("Cannot write %s: %s\n", d.path, cause(err))
	}
	return 0
}

// protect makes the one protective partition.
func (d *drive) protect(mbr []byte) {
	copy(mbr[mbrMagic:], []byte{0x1d, 0x9a})
	clear(mbr[mbrPartitions : mbrSize-2])
	p := mbr[mbrPartitions:]
	copy(p, []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(p[8:], 1)
	last := uint64(math.MaxUint32)
	if d.sectors < math.MaxUint32 {
		last = d.sectors - 1
	}
	binary.LittleEndian.PutUint32(p[12:], uint32(last))
	copy(mbr[mbrSize-2:], []byte{0x55, 0xaa})
}

// bootCode reads boot code from a file over the old one; what is longer is
// cut off, what is shorter leaves the rest.
func (r *run) bootCode(code []byte, file string) bool {
	f, err := os.Open(file)
	if err != nil {
		r.errorf("Can't read %s: %s\n", file, cause(err))
		return false
	}
	defer f.Close()
	n, err := io.ReadFull(f, code)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if n < 1 {
		why := "Success" // what the original says of an empty file
		if !errors.Is(err, io.EOF) {
			why = cause(err)
		}
		r.errorf("problem reading %s: %s\n", file, why)
		return false
	}
	return true
}
