package cgpt

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
)

// showOptions are those of show.
type showOptions struct {
	numeric, verbose, quick, debug bool
	partition                      uint64
	item                           byte
}

func (r *run) show(args []string) int {
	var o showOptions
	usage := r.usage("show [OPTIONS] DRIVE", "Display the GPT table.\n\nUnits are blocks by default.",
		"  -n           Numeric output only\n"+
			"  -v           Verbose output\n"+
			"  -q           Quick output\n"+
			"  -i NUM       Show specified partition only\n"+
			"  -d           Debug output (including invalid headers)\n"+
			"\n"+
			"When using -i, specific fields may be displayed using one of:\n"+
			"  -b  first block (a.k.a. start of partition)\n"+
			"  -s  partition size (in blocks)\n"+
			"  -t  type guid\n"+
			"  -u  unique guid\n"+
			"  -l  label\n"+
			"  -S  Successful flag\n"+
			"  -T  Tries flag\n"+
			"  -P  Priority flag\n"+
			"  -R  Required flag\n"+
			"  -B  Legacy Boot flag\n"+
			"  -A  raw 16-bit attribute value (bits 48-63)\n")
	rest, code, done := options{r: r, spec: "hnvqi:bstulSTPRBAdD:", usage: usage, set: func(c byte, arg string) int {
		return r.showOption(&o, c, arg)
	}}.parse(args)
	if done {
		return code
	}
	var part uint32
	if len(rest) > 0 {
		_, part = r.wholeDisk(rest[0])
	}
	if o.item != 0 && o.partition == 0 && part == 0 {
		r.errorf("-i required when displaying a single item\n")
		usage()
		return 1
	}
	if len(rest) == 0 {
		r.errorf("missing drive argument\n")
		usage()
		return 1
	}
	if o.partition == 0 {
		o.partition = uint64(part)
	}
	return r.on(rest, false, func(d *drive) int { return d.show(o) })
}

func (r *run) showOption(o *showOptions, c byte, arg string) (bad int) {
	switch c {
	case 'D':
		return r.driveSize(arg)
	case 'n':
		o.numeric = true
	case 'v':
		o.verbose = true
	case 'q':
		o.quick = true
	case 'd':
		o.debug = true
	case 'i':
		bad = r.number(c, arg, &o.partition)
		if o.partition = uint64(uint32(o.partition)); o.partition == 0 {
			bad += r.errorf("-i requires a number between 1 and 128 (inclusive)\n")
		}
	default:
		if o.item != 0 {
			bad = r.errorf("-%c already specified; rejecting additional -%c\n", o.item, c)
			r.errorf("Only a single item may be displayed at a time\n")
		}
		o.item = c
	}
	return bad
}

func (d *drive) show(o showOptions) int {
	r := d.r
	if !d.checked() {
		return 1
	}
	switch {
	case o.partition > maxEntries:
		return r.errorf("invalid partition number: %d\n", int32(o.partition))
	case o.partition > 0 && o.item != 0:
		d.showItem(entryAt(d.any(), int(o.partition-1)), o.item)
	case o.partition > 0:
		r.printf(titleFormat, "start", "size", "part", "contents")
		r.showEntry(entryAt(d.any(), int(o.partition-1)), int(o.partition), o.numeric)
	case o.quick:
		for i := range maxEntries {
			e := entryAt(d.any(), i)
			if e.unused() {
				continue
			}
			kind, known := typeText(e.kind())
			if o.numeric || !known {
				kind = guidText(e.kind())
			}
			r.printf(partitionFormat, e.first(), e.size(), i+1, kind)
		}
	default:
		d.showAll(o)
	}
	d.whole()
	return 0
}

func (d *drive) showItem(e entry, item byte) {
	r, a := d.r, e.attributes()
	flag := map[bool]int{true: 1}
	switch item {
	case 'b':
		r.printf("%d\n", int64(e.first()))
	case 's':
		size := e.size()
		if e.first() == 0 && e.last() == 0 {
			size = 0
		}
		r.printf("%d\n", int64(size))
	case 't':
		r.printf("%s\n", guidText(e.kind()))
	case 'u':
		r.printf("%s\n", guidText(e.unique()))
	case 'l':
		label, _ := e.label()
		r.printf("%s\n", label)
	case 'S':
		r.printf("%d\n", flag[a.Successful()])
	case 'T':
		r.printf("%d\n", a.Tries())
	case 'P':
		r.printf("%d\n", a.Priority())
	case 'R':
		r.printf("%d\n", flag[a.Required()])
	case 'B':
		r.printf("%d\n", flag[a.LegacyBoot()])
	case 'A':
		if raw := uint16(a >> 48); raw != 0 {
			r.printf("%#x\n", raw)
		} else {
			r.printf("0\n")
		}
	}
}

// showEntry shows one partition with all that is known of it.
func (r *run) showEntry(e entry, number int, raw bool) {
	label, _ := e.label()
	r.printf(partitionFormat, e.first(), e.size(), number, fmt.Sprintf("Label: \"%s\"", label))
	kind, known := typeText(e.kind())
	if raw || !known {
		kind = guidText(e.kind())
	}
	r.printf("%sType: %s\n", indent(), kind)
	r.printf("%sUUID: %s\n", indent(), guidText(e.unique()))

	a := e.attributes()
	var text string
	switch {
	case raw:
		text = fmt.Sprintf("[%x]", uint16(a>>48))
	default:
		if isSlot(e.kind()) {
			text = a.String() + " "
		}
		for bit, name := range []string{"required", "efi_ignore", "legacy_boot"} {
			if a>>bit&1 == 1 {
				text += name + "=1 "
			}
		}
	}
	if text != "" {
		r.printf("%sAttr: %s\n", indent(), text)
	}
}

func (d *drive) showAll(o showOptions) {
	r := d.r
	if o.debug || o.verbose {
		r.printf("Drive details:\n    Total Size (bytes): %d\n    LBA Size (bytes): %d\n    Drive Size (blocks): %d\n\n",
			d.size, d.sectorSize, d.sectors)
	}
	r.printf(titleFormat, "start", "size", "part", "contents")
	r.printf(gptFormat, 0, 1, "", d.showMBR())
	d.showPrimary(o)
	d.showSecondary(o)
}

// showMBR names the first sector by the GUID that old loaders keep in it.
func (d *drive) showMBR() string {
	b, err := d.mbr()
	if err != nil || allZero(b[mbrGUID:mbrGUID+16]) {
		return "PMBR"
	}
	return fmt.Sprintf("PMBR (Boot GUID: %s)", guidText(b[mbrGUID:]))
}

func (d *drive) showPrimary(o showOptions) {
	r, h := d.r, d.headers[primary]
	if d.ignored&maskPrimary != 0 {
		r.printf(gptFormat, 1, 1, "IGNORED", "Pri GPT header")
		return
	}
	valid := d.validHeaders&maskPrimary != 0
	r.printf(gptFormat, 1, 1, invalid(valid), "Pri GPT header")
	if o.debug || valid && o.verbose {
		r.showHeader(h, d.arrays[primary], o.numeric)
	}
	valid = d.validEntries&maskPrimary != 0
	r.printf(gptFormat, h.entriesLBA(), h.arraySectors(d.sectorSize), invalid(valid), "Pri GPT table")
	if o.debug || valid {
		d.showEntries(primary, o.numeric)
	}
}

func (d *drive) showSecondary(o showOptions) {
	r, h := d.r, d.headers[secondary]
	if d.ignored&maskSecondary != 0 {
		r.printf(gptFormat, d.sectors-1, 1, "IGNORED", "Sec GPT header")
		return
	}
	valid := d.validEntries&maskSecondary != 0
	r.printf(gptFormat, h.entriesLBA(), h.arraySectors(d.sectorSize), invalid(valid), "Sec GPT table")
	// The secondary is shown when it tells something the primary does not.
	alone := o.debug || d.ignored&maskPrimary != 0
	differs := valid && (d.validEntries&maskPrimary == 0 || !bytes.Equal(d.arrays[primary], d.arrays[secondary]))
	if alone || differs {
		d.showEntries(secondary, o.numeric)
	}

	valid = d.validHeaders&maskSecondary != 0
	if valid {
		r.printf(gptFormat, d.sectors-1, 1, "", "Sec GPT header")
	} else {
		r.printf(gptFormat, 1, 1, "INVALID", "Sec GPT header") // the original's wrong place
	}
	differs = valid && o.verbose && (d.validHeaders&maskPrimary == 0 || !d.headers[primary].synonymous(h))
	if alone || differs {
		r.showHeader(h, d.arrays[secondary], o.numeric)
	}
}

func invalid(valid bool) string {
	if valid {
		return ""
	}
	return "INVALID"
}

func (d *drive) showEntries(which int, raw bool) {
	for i := range maxEntries {
		if e := entryAt(d.arrays[which], i); !e.unused() {
			d.r.showEntry(e, i+1, raw)
		}
	}
}

func (r *run) showHeader(h header, array []byte, raw bool) {
	line := func(format string, args ...any) { r.printf(indent()+format+"\n", args...) }
	signature := "[" + h.signature() + "]"
	if raw {
		signature = "[" + strings.ReplaceAll(fmt.Sprintf("% X", []byte(h[:8])), " ", "-") + "]"
	}
	line("Sig: %s", signature)
	line("Rev: 0x%08x", h.revision())
	line("Size: %d (blocks)", int32(h.size()))
	mark := ""
	if h.sum() != h.crc() {
		mark = "(INVALID)"
	}
	line("Header CRC: 0x%08x %s", h.crc(), mark)
	line("My LBA: %d", int64(h.lba()))
	line("Alternate LBA: %d", int64(h.alternate()))
	line("First LBA: %d", int64(h.firstUsable()))
	line("Last LBA: %d", int64(h.lastUsable()))
	line("Disk UUID: %s", guidText(h.diskUUID()))
	line("Entries LBA: %d", int64(h.entriesLBA()))
	line("Number of entries: %d", int32(h.entries()))
	line("Size of entry: %d", int32(h.entrySize()))
	mark = ""
	if n := uint64(h.entries()) * uint64(h.entrySize()); n > uint64(len(array)) ||
		crc32.ChecksumIEEE(array[:n]) != h.entriesCRC() {
		mark = "INVALID"
	}
	line("Entries CRC: 0x%08x %s", h.entriesCRC(), mark)
}
