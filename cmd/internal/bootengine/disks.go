package bootengine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

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
	// rescanWait bounds the wait for a kernel event between two scans.
	rescanWait = 250 * time.Millisecond
)

// disk is a whole disk with slots on it, open for reading and writing.
type disk struct {
	name  string // "vda", of /dev/vda
	file  *os.File
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
	size       int64 // bytes
	sectorSize int   // bytes
}

// listBlock lists the disks below /sys, whose root is given, by name. Disks
// that cannot hold slots are left out: empty ones and those the kernel makes up.
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
		sectors, err := readNumber(sys, path.Join("block", name, "size"))
		if err != nil || sectors == 0 {
			continue
		}
		sectorSize, err := readNumber(sys, path.Join("block", name, "queue/logical_block_size"))
		if err != nil {
			continue
		}
		// The kernel counts 512 bytes here whatever the disk's sectors are.
		list = append(list, blockDevice{name, sectors * 512, int(sectorSize)})
	}
	return list, nil
}

func readNumber(sys fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// partitionName is the kernel's name of a partition: "vda3", "nvme0n1p3".
func partitionName(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}

// openDisk opens a disk if it has slots. ok is false, without an error, for
// disks that are somebody else's.
func openDisk(b blockDevice) (d *disk, ok bool, err error) {
	f, err := os.OpenFile("/dev/"+b.name, os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	t, err := partitions.Read(f, b.size, b.sectorSize)
	if err == nil && len(t.Slots()) > 0 {
		return &disk{name: b.name, file: f, table: t}, true, nil
	}
	_ = f.Close()
	if errors.Is(err, partitions.ErrNoTable) {
		err = nil
	}
	return nil, false, err
}

// pickDisk chooses among disks with slots, sorted by name, the one that has
// the partition the firmware started from. Without a match, or without
// knowing, it is the first one. sure says that no better one can appear.
func pickDisk(found []*disk, esp string) (chosen *disk, sure bool) {
	if len(found) == 0 {
		return nil, false
	}
	if esp == "" {
		return found[0], true
	}
	for _, d := range found {
		if d.has(esp) {
			return d, true
		}
	}
	return found[0], false
}

// findDisk waits until the disk to start from is there.
func (e *engine) findDisk() (*disk, error) {
	if e.config.esp == "" {
		e.config.esp = firmwarePartition()
	}
	events := listenEvents()
	defer events.close()
	begin := time.Now()
	seen := map[string]*disk{} // nil: looked at, not ours
	for {
		found := e.scan(seen)
		chosen, sure := pickDisk(found, e.config.esp)
		waited := time.Since(begin)
		if chosen != nil && (sure || waited > espWait) {
			e.explainDisk(chosen, found, sure)
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
			d, _, err := openDisk(b)
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

// explainDisk says what was not certain about the choice of a disk.
func (e *engine) explainDisk(chosen *disk, found []*disk, sure bool) {
	if line := diskNote(chosen, found, sure, e.config.esp); line != "" {
		e.say("%s", line)
	}
}

// diskNote is that line, or "" if everything was certain.
func diskNote(chosen *disk, found []*disk, sure bool, esp string) string {
	if !sure {
		return fmt.Sprintf("disk %s: taken although partition %s, where the firmware started, is on none",
			chosen.name, esp)
	}
	if esp == "" {
		if len(found) > 1 {
			return fmt.Sprintf("disk %s: taken as the first of %d with slots; the firmware does not say which it started from",
				chosen.name, len(found))
		}
		return ""
	}
	copies := 0
	for _, d := range found {
		if d.has(esp) {
			copies++
		}
	}
	if copies > 1 {
		return fmt.Sprintf("disk %s: taken as the first of %d copies that have partition %s", chosen.name, copies, esp)
	}
	return ""
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
