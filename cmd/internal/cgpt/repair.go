package cgpt

import (
	"bytes"

	"slipway/partitions"
)

// repair mends the table and says which parts it wrote.
func (r *run) repair(args []string) int {
	verbose := false
	usage := r.usage("repair [OPTIONS] DRIVE", "Repair damaged GPT headers and tables.", "  -v           Verbose\n")
	rest, code, done := options{r: r, spec: "hvD:", usage: usage, set: func(c byte, arg string) int {
		if c == 'D' {
			return r.driveSize(arg)
		}
		verbose = true
		return 0
	}}.parse(args)
	if done {
		return code
	}
	return r.on(rest, true, func(d *drive) int { return d.repair(verbose) })
}

func (d *drive) repair(verbose bool) int {
	r := d.r
	e := d.check()
	if verbose {
		r.printf("GptValidityCheck() returned %d: %s\n", e.number, e.name)
	}
	if e == ok() && (d.ignored != 0 || d.headers[primary].signature() == signatureLegacy) {
		return 0 // nothing that was done on purpose is undone
	}
	t, good := d.table()
	if !good {
		return 1
	}
	// Parts that could not be judged count as mended, as in the original.
	mended := [4]bool{
		d.validHeaders == maskSecondary, d.validEntries == maskSecondary,
		d.validEntries == maskPrimary, d.validHeaders == maskPrimary,
	}
	before := d.parts()
	if code := d.update(t, partitions.Change{Fit: true}); code != 0 {
		return code
	}
	after := d.parts()
	for i, name := range []string{"Primary Header", "Primary Entries", "Secondary Entries", "Secondary Header"} {
		if mended[i] || !bytes.Equal(before[i], after[i]) {
			r.printf("%s is updated.\n", name)
		}
	}
	return 0
}

// parts reads the four parts of the table from their usual places.
func (d *drive) parts() [4][]byte {
	array := uint64(maxEntries * entrySize / d.sectorSize)
	var parts [4][]byte
	for i, p := range [4]struct{ lba, n uint64 }{
		{1, 1}, {2, array}, {d.sectors - 1 - array, array}, {d.sectors - 1, 1},
	} {
		parts[i], _ = d.read(p.lba, p.n)
	}
	return parts
}

// legacy switches the signatures of the headers.
func (r *run) legacy(args []string) int {
	var mode byte
	usage := r.usage("legacy [OPTIONS] DRIVE", "Switch GPT header signature to \"CHROMEOS\".",
		"  -e           Switch GPT header signature back to \"EFI PART\"\n"+
			"  -p           Switch primary GPT header signature to \"IGNOREME\"\n"+
			forceUsage)
	rest, code, done := options{r: r, spec: "hepD:", usage: usage, set: func(c byte, arg string) (bad int) {
		if c == 'D' {
			return r.driveSize(arg)
		}
		if mode != 0 {
			bad = r.errorf("Incompatible flags, pick either -e or -p\n")
		}
		mode = c
		return bad
	}}.parse(args)
	if done {
		return code
	}
	if len(rest) == 0 {
		usage()
		return 1
	}
	return r.on(rest, true, func(d *drive) int { return d.legacy(mode) })
}

// legacy writes only headers that are good: the original gives the others a
// checksum too, and with -e copies even a bad secondary array.
func (d *drive) legacy(mode byte) int {
	if !d.checked() {
		return 1
	}
	h1, h2 := d.headers[primary], d.headers[secondary]
	switch mode {
	case 'e':
		arrays := 0
		if d.validEntries&maskSecondary != 0 && d.validHeaders&maskPrimary != 0 {
			copy(d.arrays[primary], d.arrays[secondary])
			h1.sealArray(d.arrays[primary])
			arrays = maskPrimary
		}
		h1.sign(signatureEFI)
		h2.sign(signatureEFI)
		return d.raw(d.validHeaders, arrays)
	case 'p':
		if d.validHeaders&maskSecondary == 0 || d.validEntries&maskSecondary == 0 || d.ignored&maskSecondary != 0 {
			return d.r.errorf("Refusing to mark primary GPT ignored unless secondary is valid.")
		}
		clear(h1[:headerBytes])
		h1.sign(signatureIgnored)
		return d.raw(maskPrimary, 0)
	}
	if !d.mayLose() {
		return 1
	}
	if d.validEntries&maskSecondary == 0 {
		return d.r.errorf("%s: the secondary entries are bad, and the legacy form keeps no others\n", d.path)
	}
	h1.sign(signatureLegacy)
	h2.sign(signatureLegacy)
	clear(d.arrays[primary][:d.sectorSize])
	return d.raw(d.validHeaders, d.validHeaders&maskPrimary)
}
