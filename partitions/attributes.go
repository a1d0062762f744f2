package partitions

import "fmt"

// Attributes are the 64 attribute bits of a partition entry. Bits 0 to 2 are
// UEFI's; 48 to 56 are those CoreOS took from ChromiumOS (cgptlib_internal.h)
// for partitions of type TypeUSR; 60 and 63 are of the discoverable
// partitions specification. Everything else is kept as it is.
type Attributes uint64

// The single-bit attributes.
const (
	// Required marks a partition the platform needs.
	Required Attributes = 1 << 0
	// NoBlockIO hides the partition from UEFI.
	NoBlockIO Attributes = 1 << 1
	// LegacyBoot marks the partition a BIOS boot sector loads from.
	LegacyBoot Attributes = 1 << 2
	// Successful marks a slot that has proven itself.
	Successful Attributes = 1 << 56
	// ReadOnly asks for read-only mounts.
	ReadOnly Attributes = 1 << 60
	// NoAutomount keeps the partition from being mounted by itself.
	NoAutomount Attributes = 1 << 63
)

const (
	priorityShift = 48
	triesShift    = 52
	nibble        = 15
)

// Slot makes the attributes of a slot. Priority and tries are 0 to 15;
// larger values are cut to 15, smaller to 0.
func Slot(priority, tries int, successful bool) Attributes {
	return Attributes(0).WithPriority(priority).WithTries(tries).WithSuccessful(successful)
}

// Priority is 0 (never booted) to 15 (first).
func (a Attributes) Priority() int { return int(a >> priorityShift & nibble) }

// Tries is how many more boots may be attempted, 0 to 15.
func (a Attributes) Tries() int { return int(a >> triesShift & nibble) }

// Successful says whether a boot from the slot was declared good.
func (a Attributes) Successful() bool { return a&Successful != 0 }

// LegacyBoot says whether bit 2, legacy BIOS bootable, is set.
func (a Attributes) LegacyBoot() bool { return a&LegacyBoot != 0 }

// Required says whether bit 0 is set.
func (a Attributes) Required() bool { return a&Required != 0 }

// Bootable says whether a slot with these attributes may be booted at all:
// a priority above 0, and tries left or proven.
func (a Attributes) Bootable() bool {
	return a.Priority() > 0 && (a.Tries() > 0 || a.Successful())
}

// Tried is what a start from the slot makes of its attributes: one try less,
// also of a proven slot, if there are any.
func (a Attributes) Tried() Attributes { return a.WithTries(a.Tries() - 1) }

// WithPriority returns a with another priority, cut to 0..15.
func (a Attributes) WithPriority(n int) Attributes { return a.with(priorityShift, n) }

// WithTries returns a with another number of tries, cut to 0..15.
func (a Attributes) WithTries(n int) Attributes { return a.with(triesShift, n) }

// WithSuccessful returns a with the successful bit set or cleared.
func (a Attributes) WithSuccessful(on bool) Attributes { return a.withBit(Successful, on) }

// WithLegacyBoot returns a with bit 2 set or cleared.
func (a Attributes) WithLegacyBoot(on bool) Attributes { return a.withBit(LegacyBoot, on) }

// WithRequired returns a with bit 0 set or cleared.
func (a Attributes) WithRequired(on bool) Attributes { return a.withBit(Required, on) }

func (a Attributes) with(shift, n int) Attributes {
	n = min(max(n, 0), nibble)
	return a&^(nibble<<shift) | Attributes(n)<<shift
}

func (a Attributes) withBit(bit Attributes, on bool) Attributes {
	if on {
		return a | bit
	}
	return a &^ bit
}

// String shows the slot attributes as cgpt does.
func (a Attributes) String() string {
	successful := 0
	if a.Successful() {
		successful = 1
	}
	return fmt.Sprintf("priority=%d tries=%d successful=%d", a.Priority(), a.Tries(), successful)
}
