package cgpt

import (
	"os"

	"github.com/google/uuid"

	"slipway/partitions"
)

// create writes an empty table. The options -c, -s and -g are CoreOS's.
func (r *run) create(args []string) int {
	var padding, sectors uint64
	var zap, makeFile bool
	var id uuid.UUID
	usage := r.usage("create [OPTIONS] DRIVE", "Create or reset an empty GPT.",
		"  -z           Zero the blocks of the GPT table and entries\n"+
			"  -p NUM       Size (in blocks) of the disk to pad between the\n"+
			"                 primary GPT header and its entries, default 0\n"+
			"  -c           Create disk image file if needed. Requires -s\n"+
			"  -s NUM       Minimum disk sectors, extends image files\n"+
			"  -g GUID      The desired disk GUID\n"+
			forceUsage)
	rest, code, done := options{r: r, spec: "hzp:D:cs:g:", usage: usage, set: func(c byte, arg string) int {
		switch c {
		case 'D':
			return r.driveSize(arg)
		case 'z':
			zap = true
		case 'p':
			return r.number(c, arg, &padding)
		case 'c':
			makeFile = true
		case 's':
			return r.number(c, arg, &sectors)
		case 'g':
			var ok bool
			if id, ok = r.guid(arg); !ok {
				return r.errorf("Provided GUID is invalid: \"%s\"\n", arg)
			}
		}
		return 0
	}}.parse(args)
	if done {
		return code
	}
	if makeFile && sectors == 0 {
		r.errorf("minimum size (-s) is required with create (-c)\n")
		usage()
		return 1
	}
	if len(rest) == 0 {
		usage()
		return 1
	}
	if sectors > 0 && !r.extend(rest[0], sectors, makeFile) {
		return 1
	}
	if id == (uuid.UUID{}) {
		id = r.NewUUID()
	}
	return r.on(rest, true, func(d *drive) int {
		return d.create(zap, partitions.Empty{SectorSize: d.sectorSize, DiskUUID: id, Padding: int64(padding)})
	})
}

// extend makes an image file at least that many sectors of 512 bytes long.
func (r *run) extend(path string, sectors uint64, create bool) bool {
	mode := os.O_RDWR
	if create {
		mode |= os.O_CREATE
	}
	f, err := os.OpenFile(path, mode, 0o666)
	if err != nil {
		r.errorf("Can't open %s: %s\n", path, cause(err))
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && sectors > 1<<50 {
		r.errorf("Can't extend %s: %d sectors are too many\n", path, sectors)
		return false
	}
	if err == nil && info.Mode().IsRegular() && info.Size() < int64(sectors)*512 {
		err = f.Truncate(int64(sectors) * 512)
	}
	if err != nil {
		r.errorf("Can't extend %s: %s\n", path, cause(err))
	}
	return err == nil
}

func (d *drive) create(zap bool, empty partitions.Empty) int {
	r := d.r
	if d.part != 0 {
		return r.errorf("%s: partition %d is no place for a table\n", d.path, d.part)
	}
	for _, h := range d.headers {
		if h.signature() == signatureIgnored {
			return r.errorf("%s: a GPT is marked ignored, \"%s legacy -e\" ends that\n", d.path, r.Name)
		}
	}
	if !d.mayLose() {
		return 1
	}
	if !zap {
		if err := partitions.CreateEmpty(d.file, int64(d.size), empty); err != nil {
			return r.errorf("%s: %v\n", d.path, err)
		}
		return 0
	}
	array := uint64(maxEntries * entrySize / d.sectorSize)
	if d.sectors < 3+2*array {
		return r.errorf("%s: drive of %d sectors has no room for a table\n", d.path, d.sectors)
	}
	zeros := make([]byte, (1+array)*uint64(d.sectorSize))
	for _, lba := range []uint64{d.sectors - 1 - array, 1} {
		_, err := d.file.WriteAt(zeros, int64(lba)*int64(d.sectorSize))
		if err == nil {
			err = d.file.Sync()
		}
		if err != nil {
			return r.errorf("Cannot write %s: %s\n", d.path, cause(err))
		}
	}
	return 0
}

// edit changes the disk's UUID.
func (r *run) edit(args []string) int {
	var id uuid.UUID
	given := false
	usage := r.usage("edit [OPTIONS] DRIVE", "Edit a drive's parameters.", "  -u GUID      Drive Unique ID\n")
	rest, code, done := options{r: r, spec: "hu:D:", usage: usage, set: func(c byte, arg string) int {
		if c == 'D' {
			return r.driveSize(arg)
		}
		given = true
		var ok bool
		if id, ok = r.guid(arg); !ok {
			return r.errorf("invalid argument to -%c: %s\n", c, arg)
		}
		return 0
	}}.parse(args)
	if done {
		return code
	}
	if len(rest) > 0 && !given {
		return r.errorf("no parameters were edited\n")
	}
	return r.on(rest, true, func(d *drive) int { return d.edit(id) })
}

func (d *drive) edit(id uuid.UUID) int {
	r := d.r
	if !d.checked() {
		return 1
	}
	if !d.whole() {
		return r.errorf("Please run 'cgpt repair' before changing settings.\n")
	}
	t, ok := d.table()
	if !ok {
		return 1
	}
	return d.update(t, partitions.Change{DiskUUID: id})
}
