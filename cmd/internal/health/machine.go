package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
	"slipway/partitions"
	"slipway/signing/footer"
)

// boot is what the boot engine says of this boot, as far as it matters here:
// see package bootengine.
type boot struct {
	Disk      string            `json:"disk"`
	Slot      string            `json:"slot"`
	Partition int               `json:"partition"`
	Version   string            `json:"version"`
	RootHash  string            `json:"root_hash"`
	Failures  map[string]string `json:"failures"`
	Versions  map[string]string `json:"versions"`
	// EndedByWatchdog is about the start before this one.
	EndedByWatchdog bool `json:"ended_by_watchdog"`
}

// readBoot reads the report. A machine that did not start from a slot has
// none: then the error is fs.ErrNotExist.
func (e *Env) readBoot() (*boot, error) {
	text, err := os.ReadFile(e.path(bootPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("boot report: %w", err)
	}
	b := new(boot)
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("boot report /%s: %w", bootPath, err)
	}
	return b, nil
}

// Slot is a slot of the disk the machine runs from.
type Slot struct {
	Label      string `json:"slot"`
	Partition  int    `json:"partition"`
	Device     string `json:"device"`
	Version    string `json:"version,omitempty"` // "" if there is none, or no footer to say so
	RootHash   string `json:"root_hash,omitempty"`
	Priority   int    `json:"priority"`
	Tries      int    `json:"tries"`
	Successful bool   `json:"successful"`
	Running    bool   `json:"running"`
}

// drive is the open disk.
type drive struct {
	*blockdev.File
	env   *Env
	path  string // "/dev/vda"
	table *partitions.Table
}

// openDrive opens the disk of this boot, for changing its table if write is
// set: then no other program of ours does at the same time.
func (e *Env) openDrive(b *boot, write bool) (*drive, error) {
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	f, err := blockdev.Open(e.path(b.Disk), mode)
	if err != nil {
		return nil, err
	}
	d := &drive{File: f, env: e, path: b.Disk}
	if write {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("disk %s: lock: %w", b.Disk, err), f.Close())
		}
	}
	if err := d.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("disk %s: %w", b.Disk, err), f.Close())
	}
	return d, nil
}

func (d *drive) read() error {
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	sector := 0 // an image file: found by trying
	if n, err := unix.IoctlGetInt(int(d.Fd()), unix.BLKSSZGET); err == nil {
		sector = n
	}
	d.table, err = partitions.Read(d, size, sector)
	return err
}

// device is the path of a partition's node: the kernel puts a "p" between a
// name that ends in a digit and the number.
func (d *drive) device(number int) string {
	if last := d.path[len(d.path)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", d.path, number)
	}
	return fmt.Sprintf("%s%d", d.path, number)
}

// running finds the slot the machine runs from. The report of the boot engine
// and what /usr is mounted from have to agree: the wrong slot must never be
// taken for proven.
func (d *drive) running(b *boot) (partitions.Partition, error) {
	p, ok := d.table.Partition(b.Partition)
	if !ok || p.Type.String() != partitions.TypeUSR || p.Label != b.Slot {
		return p, fmt.Errorf("disk %s: partition %d is not slot %s any more", d.path, b.Partition, b.Slot)
	}
	device, err := d.env.Mounted("/usr")
	if err != nil {
		return p, err
	}
	if device != d.device(p.Number) {
		return p, fmt.Errorf("/usr is on %s, the boot engine started %s from %s", device, b.Slot, d.device(p.Number))
	}
	return p, nil
}

// slots lists the slots with what their footers claim; nothing is verified,
// as nothing follows from it but a listing.
func (d *drive) slots(b *boot) []Slot {
	var list []Slot
	for _, p := range d.table.Slots() {
		s := Slot{
			Label: p.Label, Partition: p.Number, Device: d.device(p.Number),
			Priority: p.Attributes.Priority(), Tries: p.Attributes.Tries(),
			Successful: p.Attributes.Successful(), Running: p.Number == b.Partition,
		}
		if foot, err := d.footer(p); err == nil {
			s.Version, s.RootHash = foot.Version, foot.RootHash
		}
		list = append(list, s)
	}
	return list
}

// footer reads through the partition's own node: the kernel caches the disk's
// apart from it.
func (d *drive) footer(p partitions.Partition) (*footer.Footer, error) {
	f, err := os.Open(filepath.Join(d.env.Root, d.device(p.Number)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	foot, _, err := footer.Inspect(f, p.Size*int64(d.table.SectorSize))
	return foot, err
}
