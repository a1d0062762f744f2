package cgpt

import (
	"bytes"
	"io"
	"os"

	"github.com/google/uuid"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
)

// maxContent bounds what find -M compares.
const maxContent = 64 << 20

// findOptions are those of find, and what was found.
type findOptions struct {
	verbose, numeric, one bool
	kind, unique          *uuid.UUID
	label                 *string
	content               []byte
	offset                uint64
	hits                  int
}

func (r *run) find(args []string) int {
	var o findOptions
	text := r.usage("find [OPTIONS] [DRIVE]",
		"Find a partition by its UUID or label. With no specified DRIVE\nit scans all physical drives.",
		"  -t GUID      Search for Partition Type GUID\n"+
			"  -u GUID      Search for Partition Unique ID\n"+
			"  -l LABEL     Search for Label\n"+
			"  -v           Be verbose in displaying matches (repeatable)\n"+
			"  -n           Numeric output only\n"+
			"  -1           Fail if more than one match is found\n"+
			"  -M FILE      Matching partition data must also contain FILE content\n"+
			"  -O NUM       Byte offset into partition to match content (default 0)\n")
	usage := func() { text(); r.printTypes() }
	rest, code, done := options{
		r: r, spec: "hv1nt:u:l:M:O:D:", help: usage,
		// That nothing is looked for counts as an error of the last option.
		usage: func() { o.complete(r); usage() },
		set:   func(c byte, arg string) int { return r.findOption(&o, c, arg) },
	}.parse(args)
	if done {
		return code
	}
	if !o.complete(r) {
		usage()
		return 1
	}
	if len(rest) == 0 {
		rest = r.disks()
	}
	for _, path := range rest {
		if d, opened := r.open(path, false); opened {
			d.find(&o)
			d.close()
		}
	}
	if o.hits == 0 || o.one && o.hits != 1 {
		return 1
	}
	return 0
}

// complete says whether there is something to look for.
func (o *findOptions) complete(r *run) bool {
	if o.kind == nil && o.unique == nil && o.label == nil {
		r.errorf("You must specify at least one of -t, -u, or -l\n")
		return false
	}
	return true
}

func (r *run) findOption(o *findOptions, c byte, arg string) int {
	var id uuid.UUID
	good := true
	switch c {
	case 'D':
		return r.driveSize(arg)
	case 'v':
		o.verbose = true
	case 'n':
		o.numeric = true
	case '1':
		o.one = true
	case 'l':
		o.label = &arg
	case 't':
		id, good = r.typeOrGUID(arg)
		o.kind = &id
	case 'u':
		id, good = r.guid(arg)
		o.unique = &id
	case 'O':
		return r.number(c, arg, &o.offset)
	case 'M':
		f, err := os.Open(arg)
		if err == nil {
			o.content, err = io.ReadAll(io.LimitReader(f, maxContent+1))
			_ = f.Close()
		}
		if err != nil || len(o.content) == 0 || len(o.content) > maxContent {
			return r.errorf("Unable to read from %s\n", arg)
		}
	}
	if !good {
		return r.errorf("invalid argument to -%c: %s\n", c, arg)
	}
	return 0
}

// find shows the drive's partitions that match.
func (d *drive) find(o *findOptions) {
	if d.check() != ok() {
		return
	}
	for i := range maxEntries {
		e := entryAt(d.any(), i)
		if e.unused() {
			continue
		}
		matches := o.unique != nil && partitions.DecodeGUID(e.unique()) == *o.unique ||
			o.kind != nil && partitions.DecodeGUID(e.kind()) == *o.kind
		if !matches && o.label != nil {
			label, whole := e.label()
			if !whole {
				d.r.errorf("The label cannot be converted from UTF16, so abort.\n")
				return
			}
			matches = label == *o.label
		}
		if !matches || !d.contains(e, o) {
			continue
		}
		o.hits++
		if o.numeric {
			d.r.printf("%d\n", i+1)
		} else {
			d.r.printf("%s\n", blockdev.Partition(d.path, i+1))
		}
		if o.verbose {
			d.r.showEntry(e, i+1, o.numeric)
		}
	}
}

// contains says whether the partition holds the content asked for.
func (d *drive) contains(e entry, o *findOptions) bool {
	n := uint64(len(o.content))
	if n == 0 {
		return true
	}
	if size := e.size() * uint64(d.sectorSize); o.offset > size || n > size-o.offset {
		return false
	}
	b := make([]byte, n)
	if _, err := d.file.ReadAt(b, int64(e.first()*uint64(d.sectorSize)+o.offset)); err != nil {
		d.r.errorf("unable to read partition data\n")
		return false
	}
	return bytes.Equal(b, o.content)
}
