package partitions

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
)

// The fixed UUIDs of CoreOS's two slots: programs and documents refer to
// them.
const (
	UUIDUSRA = "7130c94a-213a-4e5a-8e26-6cce9662f132"
	UUIDUSRB = "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
)

// UnsetDiskUUID is the disk UUID of an image that no machine has made its
// own yet, as CoreOS's images had it.
const UnsetDiskUUID = "00000000-0000-0000-0000-000000000001"

// Layout describes the partition table of a new disk.
type Layout struct {
	// SectorSize is 512 or 4096 bytes; every other size here is in sectors.
	SectorSize int
	// DiskSectors is the size of the disk.
	DiskSectors int64
	// Alignment is what every start must be a multiple of; 0 is no matter.
	Alignment int64
	// DiskUUID identifies the disk.
	DiskUUID uuid.UUID
	// Partitions in any order.
	Partitions []Partition
}

// DiskSize is the size of the disk in bytes.
func (l Layout) DiskSize() int64 { return l.DiskSectors * int64(l.SectorSize) }

// Offset is where a partition starts on the disk, in bytes.
func (l Layout) Offset(p Partition) int64 { return p.Start * int64(l.SectorSize) }

// Partition finds a partition by its label.
func (l Layout) Partition(label string) (Partition, bool) {
	for _, p := range l.Partitions {
		if p.Label == label {
			return p, true
		}
	}
	return Partition{}, false
}

// SeededUUIDs returns a function that gives each name a UUID (version 5)
// that depends on the seed and the name only.
func SeededUUIDs(seed uuid.UUID) func(name string) uuid.UUID {
	return func(name string) uuid.UUID { return uuid.NewSHA1(seed, []byte(name)) }
}

// DefaultLayout is the disk of CoreOS: 8 GiB of 512-byte sectors, two slots
// with their fixed UUIDs of which the first is good, and a root file system
// that grows. id gives the other partitions their UUIDs by label.
func DefaultLayout(id func(label string) uuid.UUID) Layout {
	const sectors, lastUsable = 16777216, 16777216 - 34
	part := func(number int, label, kind string, start, size int64, a Attributes) Partition {
		return Partition{
			Number: number, Label: label, Type: uuid.MustParse(kind),
			Start: start, Size: size, Attributes: a,
		}
	}
	parts := []Partition{
		part(1, "EFI-SYSTEM", TypeEFI, 4096, 262144, LegacyBoot),
		part(2, "BIOS-BOOT", TypeBIOSBoot, 266240, 4096, 0),
		part(3, "USR-A", TypeUSR, 270336, 2097152, Slot(1, 0, true)),
		part(4, "USR-B", TypeUSR, 2367488, 2097152, Slot(0, 0, false)),
		part(6, "OEM", TypeLinuxData, 4464640, 262144, 0),
		part(7, "OEM-CONFIG", TypeReserved, 4726784, 131072, 0),
		part(9, "ROOT", TypeResize, 4857856, lastUsable-4857856+1, 0),
	}
	for i := range parts {
		switch p := &parts[i]; p.Label {
		case "USR-A":
			p.UUID = uuid.MustParse(UUIDUSRA)
		case "USR-B":
			p.UUID = uuid.MustParse(UUIDUSRB)
		default:
			p.UUID = id(p.Label)
		}
	}
	return Layout{
		SectorSize: 512, DiskSectors: sectors, Alignment: 4096,
		DiskUUID: uuid.MustParse(UnsetDiskUUID), Partitions: parts,
	}
}

// Number of entries and sectors of the array in a table that Create makes.
const (
	newEntries = 128
	newArray   = newEntries * minEntrySize
)

// usable returns the first and last sector partitions may use, inclusive.
func (l Layout) usable(diskSectors int64) (first, last int64) {
	array := int64(newArray / l.SectorSize)
	return 2 + array, diskSectors - 2 - array
}

// Validate returns everything that is wrong with the layout, joined.
func (l Layout) Validate() error {
	if l.SectorSize != 512 && l.SectorSize != 4096 {
		return fmt.Errorf("layout: sector size is %d, want 512 or 4096", l.SectorSize)
	}
	first, last := l.usable(l.DiskSectors)
	if last < first {
		return fmt.Errorf("layout: disk of %d sectors has no room for a table", l.DiskSectors)
	}
	var errs []error
	bad := func(p Partition, format string, args ...any) {
		errs = append(errs, fmt.Errorf("partition %d (%s): %s", p.Number, p.Label, fmt.Sprintf(format, args...)))
	}
	if l.DiskUUID == (uuid.UUID{}) {
		errs = append(errs, errors.New("layout: no disk UUID"))
	}
	for i, p := range l.Partitions {
		if err := p.check(newEntries); err != nil {
			errs = append(errs, err)
			continue
		}
		if p.Start < first || p.Size > last || p.End() > last {
			bad(p, "sectors %d to %d are not within %d to %d", p.Start, p.End(), first, last)
		}
		if l.Alignment > 0 && p.Start%l.Alignment != 0 {
			bad(p, "start %d is not a multiple of %d", p.Start, l.Alignment)
		}
		if !bmp(p.Label) {
			bad(p, "label holds characters beyond the basic plane")
		}
		if p.UUID == (uuid.UUID{}) {
			bad(p, "no UUID")
		}
		for _, q := range l.Partitions[:i] {
			errs = append(errs, clash(p, q)...)
		}
	}
	return errors.Join(errs...)
}

// clash says what two partitions of a layout may not share.
func clash(p, q Partition) []error {
	var errs []error
	bad := func(what string) {
		errs = append(errs, fmt.Errorf("partitions %d (%s) and %d (%s): %s", q.Number, q.Label, p.Number, p.Label, what))
	}
	if p.Number == q.Number {
		bad("same number")
	}
	if p.Label == q.Label {
		bad("same label")
	}
	if p.UUID == q.UUID {
		bad("same UUID")
	}
	if p.Start <= q.End() && q.Start <= p.End() {
		bad("overlap")
	}
	return errs
}

// bmp says whether a label is valid text of the basic multilingual plane.
func bmp(label string) bool {
	return strings.ToValidUTF8(label, "") == label &&
		!slices.ContainsFunc([]rune(label), func(r rune) bool { return utf16.RuneLen(r) != 1 })
}
