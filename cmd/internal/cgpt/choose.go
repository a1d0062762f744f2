package cgpt

import (
	"slipway/partitions"
)

// prioritize gives the slots a new order.
func (r *run) prioritize(args []string) int {
	var ranking partitions.Ranking
	var first, top uint64
	usage := r.usage("prioritize [OPTIONS] DRIVE", "Reorder the priority of all active ChromeOS Kernel partitions.",
		"  -P NUM       Highest priority to use in the new ordering. The\n"+
			"                 other partitions will be ranked in decreasing\n"+
			"                 priority while preserving their original order.\n"+
			"                 If necessary the lowest ranks will be coalesced.\n"+
			"                 No active kernels will be lowered to priority 0.\n"+
			"  -i NUM       Specify the partition to make the highest in the new\n"+
			"                 order.\n"+
			"  -f           Friends of the given partition (those with the same\n"+
			"                 starting priority) are also updated to the new\n"+
			"                 highest priority.\n"+
			"\nWith no options this will set the lowest active kernel to\npriority 1 while maintaining the original order.\n")
	rest, code, done := options{r: r, spec: "hi:fP:D:", usage: usage, set: func(c byte, arg string) int {
		switch c {
		case 'D':
			return r.driveSize(arg)
		case 'i':
			return r.number(c, arg, &first)
		case 'f':
			ranking.Friends = true
		case 'P':
			return r.limited(c, arg, &top, 1, 15)
		}
		return 0
	}}.parse(args)
	if done {
		return code
	}
	if first = uint64(uint32(first)); first == 0 && len(rest) > 0 {
		_, part := r.wholeDisk(rest[0])
		first = uint64(part)
	}
	if ranking.Friends && first == 0 {
		r.errorf("the -f option is only useful with the -i option\n")
		usage()
		return 1
	}
	ranking.First, ranking.Top = int(first), int(top)
	return r.on(rest, true, func(d *drive) int { return d.prioritize(ranking) })
}

func (d *drive) prioritize(ranking partitions.Ranking) int {
	r := d.r
	if !d.checked() {
		return 1
	}
	if !d.whole() {
		r.errorf("please run 'cgpt repair' before reordering the priority.\n")
		return 0 // as the original has it
	}
	if ranking.First > maxEntries {
		return r.errorf("invalid partition number: %d (must be between 1 and %d\n", int32(ranking.First), maxEntries)
	}
	if ranking.First > 0 && !isSlot(entryAt(d.any(), ranking.First-1).kind()) {
		return r.errorf("partition %d is not a ChromeOS kernel\n", ranking.First)
	}
	t, ok := d.table()
	if !ok {
		return 1
	}
	changes, err := partitions.Prioritize(slots(t), ranking)
	if err != nil {
		return r.errorf("%s: %v\n", d.path, err)
	}
	return d.update(t, partitions.Change{Attributes: changes})
}

// slots are the partitions with slot attributes, CoreOS's and ChromeOS's.
func slots(t *partitions.Table) []partitions.Partition {
	var list []partitions.Partition
	for _, p := range t.Partitions {
		if k := p.Type.String(); k == partitions.TypeUSR || k == partitions.TypeKernel {
			list = append(list, p)
		}
	}
	return list
}

// next takes a try of the slot that boots next, on the drive or on all, and
// shows the slot's GUID.
func (r *run) next(args []string) int {
	usage := r.usage("next [DRIVE]", "Find the slot that boots next, on the drive or on all of them, take one\n"+
		"of its tries if it has any, and show its GUID. The slot is the one that\n"+
		"GRUB's gptprio.next would boot: the highest priority above 0 with tries\n"+
		"left or known to be good.", "")
	rest, code, done := options{r: r, spec: "hD:", usage: usage, set: func(_ byte, arg string) int { return r.driveSize(arg) }}.parse(args)
	if done {
		return code
	}
	drives := rest
	if len(rest) == 0 {
		drives = r.disks()
	}
	var best *drive
	var bestTable *partitions.Table
	priority, number := 0, 0
	for _, path := range drives {
		d, opened := r.open(path, true)
		if !opened {
			continue
		}
		defer d.close()
		t := d.current()
		if t == nil {
			continue
		}
		n, ok := partitions.Next(t)
		if p, _ := t.Partition(n); ok && p.Attributes.Priority() > priority {
			best, bestTable, priority, number = d, t, p.Attributes.Priority(), n
		}
	}
	if best == nil {
		return r.errorf("no bootable slot\n")
	}
	if err := partitions.UseTry(best.file, bestTable, number); err != nil {
		return r.errorf("%s: %v\n", best.path, err)
	}
	p, _ := bestTable.Partition(number)
	r.printf("%s\n", p.UUID)
	return 0
}
