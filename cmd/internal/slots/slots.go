// Package slots opens the disk that a machine runs from and shows its slots: what
// the boot engine said of this boot, the partition table, the running slot, and
// what the footers of all slots claim.
//
// It verifies no signature and decides nothing: who starts, proves or replaces
// a slot (packages bootengine, health, install) stands on it.
package slots

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
	"slipway/cmd/internal/rootdev"
	"slipway/partitions"
	"slipway/signing/footer"
)

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

// Machine is where disks are found.
type Machine struct {
	// Root is put before all paths, "/" on a machine.
	Root string
	// Mounted is the device beneath a path, as "rootdev -s" shows it.
	Mounted func(path string) (string, error)
}

// Host is a running machine.
func Host() Machine { return Machine{Root: "/", Mounted: mounted} }

// mounted is "rootdev -s PATH".
func mounted(path string) (string, error) {
	var out, complaint strings.Builder
	code := rootdev.Main([]string{"-s", path}, rootdev.Env{
		Name: "rootdev", Stdout: &out, Stderr: &complaint,
		Dev: "/dev", Proc: "/proc", Sys: "/sys", Stat: unix.Stat,
	})
	if code != 0 {
		return "", errors.New(strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Drive is the open disk.
type Drive struct {
	*blockdev.File
	Table *partitions.Table

	machine Machine
	path    string // "/dev/vda"
}

// Open opens the disk of this boot, for changing its table if write is set:
// then no other program of ours does at the same time.
func (m Machine) Open(b *Boot, write bool) (*Drive, error) {
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	f, err := blockdev.Open(filepath.Join(m.Root, b.Disk), mode)
	if err != nil {
		return nil, err
	}
	d := &Drive{File: f, machine: m, path: b.Disk}
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

func (d *Drive) read() error {
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	sector := 0 // an image file: found by trying
	if n, err := unix.IoctlGetInt(int(d.Fd()), unix.BLKSSZGET); err == nil {
		sector = n
	}
	d.Table, err = partitions.Read(d, size, sector)
	return err
}

// Path is the disk, such as "/dev/vda".
func (d *Drive) Path() string { return d.path }

// Device is the path of a partition's node, such as "/dev/vda3".
func (d *Drive) Device(number int) string { return blockdev.Partition(d.path, number) }

// Node is the path of a partition's node below the machine's root.
func (d *Drive) Node(number int) string { return filepath.Join(d.machine.Root, d.Device(number)) }

// Running finds the slot the machine runs from. The report of the boot engine
// and what /usr is mounted from have to agree: the wrong slot must never be
// taken for the running one.
func (d *Drive) Running(b *Boot) (partitions.Partition, error) {
	p, ok := d.Table.Partition(b.Partition)
	if !ok || p.Type.String() != partitions.TypeUSR || p.Label != b.Slot {
		return p, fmt.Errorf("disk %s: partition %d is not slot %s any more", d.path, b.Partition, b.Slot)
	}
	device, err := d.machine.Mounted("/usr")
	if err != nil {
		return p, err
	}
	if device != d.Device(p.Number) {
		return p, fmt.Errorf("/usr is on %s, the boot engine started %s from %s", device, b.Slot, d.Device(p.Number))
	}
	return p, nil
}

// Slots lists the slots with what their footers claim; nothing is verified,
// as nothing follows from it but a listing.
func (d *Drive) Slots(b *Boot) []Slot {
	var list []Slot
	for _, p := range d.Table.Slots() {
		s := Slot{
			Label: p.Label, Partition: p.Number, Device: d.Device(p.Number),
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

// Size is that of a partition in bytes.
func (d *Drive) Size(p partitions.Partition) int64 { return p.Size * int64(d.Table.SectorSize) }

// footer reads through the partition's own node: the kernel caches the disk's
// apart from it.
func (d *Drive) footer(p partitions.Partition) (*footer.Footer, error) {
	f, err := os.Open(d.Node(p.Number))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	foot, _, err := footer.Inspect(f, d.Size(p))
	return foot, err
}
