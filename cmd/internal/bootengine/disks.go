package bootengine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
)

const (
	// diskWait is how long the engine waits for a disk with slots.
	diskWait = 30 * time.Second
	// driverWait is how long it waits before it loads even the drivers that no
	// device seems to need.
	driverWait = 3 * time.Second
	// espWait is how long it waits for the very disk the firmware started
	// from, once another one with slots is there.
	espWait = 5 * time.Second
	// placeWait is the same when the other one is a copy, or the firmware means
	// it by a place the kernel knows by another name.
	placeWait = 2 * time.Second
	// rescanWait bounds the wait for a kernel event between two scans.
	rescanWait = 250 * time.Millisecond
)

// disk is a whole disk with slots on it, open for reading and writing.
type disk struct {
	name  string // "vda", of /dev/vda
	place string // where it is attached, "" if not known: see blockdev.Place
	file  *blockdev.File
	table *partitions.Table
}

func (d *disk) close() { _ = d.file.Close() }

// has says whether a partition of the disk has the UUID.
func (d *disk) has(id string) bool {
	return slices.ContainsFunc(d.table.Partitions, func(p partitions.Partition) bool {
		return strings.EqualFold(p.UUID.String(), id)
	})
}

// blockDevice is a whole disk as /sys/block describes it.
type blockDevice struct {
	name       string
	place      string
	size       int64 // bytes
	sectorSize int   // bytes
}

// listBlock lists the disks below /sys, whose root is given, in the order of
// their places, which is the order most firmware looks at them in. Disks that
// cannot hold slots are left out: empty ones and those the kernel makes up.
func listBlock(sys fs.FS) ([]blockDevice, error) {
	entries, err := fs.ReadDir(sys, "block")
	if err != nil {
		return nil, err
	}
	var list []blockDevice
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc([]string{"dm-", "fd", "loop", "md", "nbd", "ram", "sr", "zram"}, func(p string) bool {
			return strings.HasPrefix(name, p)
		}) {
			continue
		}
		sectors, err := blockdev.ReadNumber(sys, path.Join("block", name, "size"))
		if err != nil || sectors == 0 {
			continue
		}
		sectorSize, err := blockdev.ReadNumber(sys, path.Join("block", name, "queue/logical_block_size"))
		if err != nil {
			continue
		}
		// The kernel counts 512 bytes here whatever the disk's sectors are.
		list = append(list, blockDevice{name, blockdev.Place(sys, name), sectors * 512, int(sectorSize)})
	}
	slices.SortFunc(list, func(a, b blockDevice) int {
		return cmp.Or(strings.Compare(a.place, b.place), strings.Compare(a.name, b.name))
	})
	return list, nil
}

// openDisk opens a disk if it has slots. d is nil, without an error, for disks
// that are somebody else's.
func openDisk(b blockDevice) (d *disk, err error) {
	f, err := blockdev.Open("/dev/"+b.name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	t, err := readTable(f, b.size, b.sectorSize)
	if err == nil && t != nil {
		return &disk{name: b.name, place: b.place, file: f, table: t}, nil
	}
	_ = f.Close()
	return nil, err
}

// readTable reads the table of a disk with slots; nil for other disks. An image
// written to a disk of other sectors is nothing the firmware or the kernel could
// use, and easily done.
func readTable(r io.ReaderAt, size int64, sectorSize int) (*partitions.Table, error) {
	t, err := partitions.Read(r, size, sectorSize)
	if errors.Is(err, partitions.ErrNoTable) {
		other := 512 + 4096 - sectorSize
		if t, otherErr := partitions.Read(r, size, other); otherErr == nil && len(t.Slots()) > 0 {
			return nil, fmt.Errorf("its sectors have %d bytes, the image on it is for disks whose sectors have %d",
				sectorSize, other)
		}
		return nil, nil
	}
	if err != nil || len(t.Slots()) == 0 {
		return nil, err
	}
	return t, nil
}

// origin is what is known of where the machine was started from.
type origin struct {
	partition string // UUID of a partition, or ""
	place     string // of the disk, or ""
}

// candidates are the disks the machine can have been started from, of those
// with slots: one, unless there are copies of it that nothing tells apart.
func (o origin) candidates(found []*disk) []*disk {
	list := found
	if o.partition != "" {
		list = filter(list, func(d *disk) bool { return d.has(o.partition) })
	}
	if at := filter(list, func(d *disk) bool { return isAt(d.place, o.place) }); len(at) > 0 {
		list = at
	}
	return list
}

func filter(list []*disk, ok func(*disk) bool) []*disk {
	var kept []*disk
	for _, d := range list {
		if ok(d) {
			kept = append(kept, d)
		}
	}
	return kept
}

// pickDisk chooses among disks with slots the one the machine was started from.
// Without a match, or without knowing, it is the first one. A better one may
// appear: patience is for how long to wait for that.
func pickDisk(found []*disk, o origin) (chosen *disk, patience time.Duration) {
	if len(found) == 0 {
		return nil, diskWait
	}
	list := o.candidates(found)
	switch {
	case len(list) == 0:
		return found[0], espWait
	case o.place != "" && !isAt(list[0].place, o.place):
		return list[0], placeWait
	}
	return list[0], 0
}

// findDisk waits until the disk to start from is there.
func (e *engine) findDisk() (*disk, error) {
	from := origin{partition: e.config.esp, place: e.config.disk}
	if from.partition == "" {
		from.partition = e.firmware.partition
	}
	if from.place == "" {
		from.place = e.firmware.place
	}
	events := listenEvents()
	defer events.close()
	begin := time.Now()
	seen := map[string]*disk{} // nil: looked at, not ours
	for {
		found := e.scan(seen)
		chosen, patience := pickDisk(found, from)
		waited := time.Since(begin)
		if chosen != nil && waited >= patience {
			if note := diskNote(chosen, found, from); note != "" {
				e.say("%s", note)
			}
			for _, d := range found {
				if d != chosen {
					d.close()
				}
			}
			return chosen, nil
		}
		if waited > driverWait && chosen == nil && len(e.drivers.waiting) > 0 {
			e.say("no disk with slots after %s; loading every driver there is", driverWait)
			e.drivers.loadAll()
			continue
		}
		if waited > diskWait {
			return nil, fmt.Errorf("no disk with slots after %s; disks seen: %s", diskWait, names(seen))
		}
		events.wait(rescanWait)
		e.watchdog.ping() // diskWait bounds how often
		e.drivers.settle()
	}
}

// scan opens disks not seen before and returns all that have slots, by name.
func (e *engine) scan(seen map[string]*disk) []*disk {
	list, err := listBlock(os.DirFS("/sys"))
	if err != nil {
		e.say("list disks: %v", err)
	}
	var found []*disk
	for _, b := range list {
		if _, ok := seen[b.name]; !ok {
			d, err := openDisk(b)
			if errors.Is(err, fs.ErrNotExist) {
				continue // its node is not there yet
			}
			if err != nil {
				e.say("disk %s: %v", b.name, err)
			}
			seen[b.name] = d
		}
		if d := seen[b.name]; d != nil {
			found = append(found, d)
		}
	}
	return found
}

// diskNote says what was not certain about the choice of a disk, "" if nothing.
func diskNote(chosen *disk, found []*disk, o origin) string {
	list := o.candidates(found)
	switch {
	case len(list) == 0:
		return fmt.Sprintf("disk %s: taken although partition %s, where the firmware started, is on none",
			chosen.name, o.partition)
	case len(list) == 1:
		return ""
	case o.partition == "":
		return fmt.Sprintf("disk %s: taken as the first of %d with slots; the firmware does not say which it started from",
			chosen.name, len(list))
	}
	note := fmt.Sprintf("disk %s: taken as the first of %d copies that have partition %s",
		chosen.name, len(list), o.partition)
	if other := list[1].place; other != "" && other != chosen.place {
		note += "; slipway.disk=" + other + " would be another"
	}
	return note
}

func names(seen map[string]*disk) string {
	list := []string{}
	for name := range seen {
		list = append(list, name)
	}
	if len(list) == 0 {
		return "none"
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
