package cgpt

import (
	"fmt"

	"slipway/partitions"
)

// driveSizeUsage is the option that every command of the original has.
const driveSizeUsage = "  -D NUM       Size (in bytes) of the disk where partitions reside;\n" +
	"                 default 0, meaning partitions and GPT structs are\n" +
	"                 both on DRIVE\n"

// forceUsage is the option of the commands that can refuse.
const forceUsage = "  --force      Write also if no bootable slot would be left\n"

// usage returns a function that prints a command's usage text: synopsis,
// what it does, options.
func (r *run) usage(synopsis, does, options string) func() {
	return func() {
		r.printf("\nUsage: %s %s\n\n%s\n\nOptions:\n%s%s\n", r.Name, synopsis, does, driveSizeUsage, options)
	}
}

// printTypes lists the names of partition types.
func (r *run) printTypes() {
	r.printf("The partition type may also be given as one of these aliases:\n\n")
	for _, n := range partitions.TypeNames() {
		r.printf("    %-10s  %s\n", n.Name, n.Description)
	}
	r.printf("\n")
}

// driveSize handles -D: there is only one drive.
func (r *run) driveSize(arg string) int {
	var n uint64
	bad := r.number('D', arg, &n)
	if bad == 0 && n != 0 {
		bad += r.errorf("partitions on another drive than the table (-D) are not supported\n")
	}
	return bad
}

// label of the columns of show.
const (
	titleFormat     = "%12s%12s%8s  %s\n"
	gptFormat       = "%12d%12d%8s  %s\n"
	partitionFormat = "%12d%12d%8d  %s\n"
)

// indent is the empty part of a line that continues a row.
func indent() string { return fmt.Sprintf("%12s%12s%8s  ", "", "", "") }
