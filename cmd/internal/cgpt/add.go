package cgpt

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"slipway/partitions"
)

// addOptions are those of add, by their letters; an option that is not in
// set was not given.
type addOptions struct {
	numbers      map[byte]uint64
	kind, unique uuid.UUID
	label        string
	set          map[byte]bool
}

func (r *run) add(args []string) int {
	o := addOptions{numbers: map[byte]uint64{}, set: map[byte]bool{}}
	text := r.usage("add [OPTIONS] DRIVE", "Add, edit, or remove a partition entry.",
		"  -i NUM       Specify partition (default is next available)\n"+
			"  -b NUM       First block (a.k.a. start of partition)\n"+
			"  -s NUM       Size (in blocks)\n"+
			"  -t GUID      Partition Type GUID\n"+
			"  -u GUID      Partition Unique ID\n"+
			"  -l LABEL     Label\n"+
			"  -S NUM       set Successful flag (0|1)\n"+
			"  -T NUM       set Tries flag (0-15)\n"+
			"  -P NUM       set Priority flag (0-15)\n"+
			"  -R NUM       set Required flag (0|1)\n"+
			"  -B NUM       set Legacy Boot flag (0|1)\n"+
			"  -A NUM       set raw 16-bit attribute value (bits 48-63)\n"+
			forceUsage+
			"\n"+
			"Use the -i option to modify an existing partition.\n"+
			"The -b, -s, and -t options must be given for new partitions.\n")
	usage := func() { text(); r.printTypes() }
	rest, code, done := options{r: r, spec: "hi:b:s:t:u:l:S:T:P:R:B:A:D:", usage: usage, set: func(c byte, arg string) int {
		return r.addOption(&o, c, arg)
	}}.parse(args)
	if done {
		return code
	}
	return r.on(rest, true, func(d *drive) int { return d.add(o) })
}

func (r *run) addOption(o *addOptions, c byte, arg string) (bad int) {
	o.set[c] = true
	var n uint64
	ok := true
	switch c {
	case 'D':
		return r.driveSize(arg)
	case 't':
		o.kind, ok = r.typeOrGUID(arg)
	case 'u':
		o.unique, ok = r.guid(arg)
	case 'l':
		o.label = arg
	case 'S', 'R', 'B':
		bad = r.limited(c, arg, &n, 0, 1)
	case 'T', 'P':
		bad = r.limited(c, arg, &n, 0, 15)
	default:
		bad = r.number(c, arg, &n)
	}
	if !ok {
		bad = r.errorf("invalid argument to -%c: %s\n", c, arg)
	}
	o.numbers[c] = n
	return bad
}

// add changes one entry of a good table.
func (d *drive) add(o addOptions) int {
	r := d.r
	if !d.checked() {
		return 1
	}
	if !d.whole() {
		return r.errorf("please run 'cgpt repair' before adding anything.\n")
	}
	number := uint32(o.numbers['i'])
	if number == 0 {
		number = d.part
	}
	if number > maxEntries {
		return r.errorf("invalid partition number: %d\n", int32(number))
	}
	array := d.arrays[primary]
	for i := uint32(0); number == 0; i++ {
		if i == maxEntries {
			return r.errorf("no unused partitions available\n")
		}
		if entryAt(array, int(i)).unused() {
			number = i + 1
		}
	}
	e := entryAt(array, int(number-1))
	o.attributes(e)
	if e.unused() {
		if !o.set['b'] || !o.set['s'] || !o.set['t'] {
			return r.errorf("-t, -b, and -s options are required for new partitions\n")
		}
		if o.kind == (uuid.UUID{}) {
			return r.errorf("New partitions must have a type other than \"unused\"\n")
		}
	}
	if !o.apply(e, r.NewUUID) {
		return r.errorf("The label cannot be converted to UTF16.\n")
	}
	h := d.headers[primary]
	h.sealArray(array)
	if fault := checkEntries(array, h); fault != "" {
		r.errorf("%s\n", fault)
		return r.errorf("%s\n", o.text(number))
	}
	t, ok := d.table()
	if !ok {
		return 1
	}
	return d.update(t, partitions.Change{Entries: array[:h.arrayBytes()]})
}

// attributes sets the attributes that were given.
func (o addOptions) attributes(e entry) {
	a := e.attributes()
	if o.set['A'] {
		e.setAttributes(a&(1<<48-1) | partitions.Attributes(o.numbers['A'])<<48)
		return
	}
	for c, with := range map[byte]func(uint64) partitions.Attributes{
		'S': func(n uint64) partitions.Attributes { return a.WithSuccessful(n == 1) },
		'T': func(n uint64) partitions.Attributes { return a.WithTries(int(n)) },
		'P': func(n uint64) partitions.Attributes { return a.WithPriority(int(n)) },
		'B': func(n uint64) partitions.Attributes { return a.WithLegacyBoot(n == 1) },
		'R': func(n uint64) partitions.Attributes { return a.WithRequired(n == 1) },
	} {
		if o.set[c] {
			a = with(o.numbers[c])
		}
	}
	e.setAttributes(a)
}

// apply sets everything else that was given; it is false if the label is no
// text.
func (o addOptions) apply(e entry, newUUID func() uuid.UUID) bool {
	if o.set['b'] {
		e.put(32, o.numbers['b'])
	}
	if o.set['s'] {
		e.put(40, e.first()+o.numbers['s']-1)
	}
	if o.set['u'] {
		partitions.PutGUID(e.unique(), o.unique)
	} else if e.unused() {
		partitions.PutGUID(e.unique(), newUUID())
	}
	if o.set['t'] {
		partitions.PutGUID(e.kind(), o.kind)
	}
	return !o.set['l'] || e.setLabel(o.label)
}

// text repeats the options the way the original reports them.
func (o addOptions) text(number uint32) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-i %d ", number)
	if o.set['l'] {
		fmt.Fprintf(&b, "-l %s ", o.label)
	}
	for _, c := range []byte("bstuSTPRBA") {
		if !o.set[c] {
			continue
		}
		switch n := o.numbers[c]; {
		case c == 't':
			fmt.Fprintf(&b, "-t %s ", strings.ToUpper(o.kind.String()))
		case c == 'u':
			fmt.Fprintf(&b, "-u %s ", strings.ToUpper(o.unique.String()))
		case c == 'A' && n != 0:
			fmt.Fprintf(&b, "-A %#x ", uint32(n))
		default:
			fmt.Fprintf(&b, "-%c %d ", c, n)
		}
	}
	return b.String()
}
