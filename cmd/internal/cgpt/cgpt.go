// Package cgpt is the program cgpt: it shows and edits GUID partition tables
// with the slot attributes of ChromiumOS and CoreOS, on disks and on image
// files.
//
// Commands, options, texts and exit codes are those of the cgpt in Debian's
// package of that name (vboot R106), so that scripts and people find what
// they know, plus what CoreOS's cgpt (seismograph) had and Debian's has not:
// CoreOS's partition types, the commands next and resize, "create -c -s -g",
// and partition devices where a drive is expected. What differs on purpose:
//
//   - writes are crash-safe (package partitions), the original's are not;
//   - a write that would leave no bootable slot on a disk that has one is
//     refused unless --force, anywhere behind the command, is given. Only
//     CoreOS's slots count, which the original does not know: of the tables
//     it was made for ours refuses nothing;
//   - create also writes the protective MBR, without which Linux does not
//     see the table, and keeps the boot code in it; its -z zeroes the entries
//     as well, which the original says and does not do;
//   - an image file may have sectors of 4096 bytes, and a symbolic link may
//     lead to a drive;
//   - repair tells the primary header where the backup moved to when a disk
//     grew, and mends what the original gives up on;
//   - next follows GRUB's gptprio.next, which is what boots.
//
// The package holds no partition table logic of its own beyond the checks
// whose outcome the original shows. GPT on a device of its own (-D) is not
// supported.
package cgpt

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Env is what the program sees of the world.
type Env struct {
	// Name is the program's name in usage texts, usually "cgpt".
	Name string
	// Stdout and Stderr take output and errors.
	Stdout, Stderr io.Writer
	// NewUUID makes the UUIDs that are not given on the command line.
	NewUUID func() uuid.UUID
	// Dev, Proc and Sys are the roots of those file systems.
	Dev, Proc, Sys string
	// Stat is stat(2), usually unix.Stat.
	Stat func(path string, st *unix.Stat_t) error
}

// run is one command being carried out.
type run struct {
	Env
	// force allows writes that leave no bootable slot.
	force bool
}

// command is an entry of the table of commands. Its function returns the
// exit code.
type command struct {
	name    string
	comment string
	run     func(*run, []string) int
}

func commands() []command {
	return []command{
		{"create", "Create or reset GPT headers and tables", (*run).create},
		{"add", "Add, edit or remove a partition entry", (*run).add},
		{"show", "Show partition table and entries", (*run).show},
		{"repair", "Repair damaged GPT headers and tables", (*run).repair},
		{"boot", "Edit the PMBR sector for legacy BIOSes", (*run).boot},
		{"find", "Locate a partition by its GUID", (*run).find},
		{"edit", "Edit a drive entry", (*run).edit},
		{"prioritize", "Reorder the priority of all kernel partitions", (*run).prioritize},
		{"legacy", "Switch between GPT and Legacy GPT", (*run).legacy},
		{"next", "Take a try of the slot to boot and show its GUID", (*run).next},
		{"resize", "Extend a partition into the free space behind it", (*run).resize},
	}
}

// Main runs the program with the arguments after its name and returns the
// exit code: 0 done or found, 1 otherwise.
func Main(args []string, env Env) int {
	r := &run{Env: env}
	if i := slices.Index(args, "--force"); i >= 0 {
		r.force, args = true, slices.Delete(slices.Clone(args), i, i+1)
	}
	// One write for each stream: a pipe that is closed early loses nothing
	// of what was done to the disk.
	var out bytes.Buffer
	stdout := r.Stdout
	r.Stdout = &out
	defer func() { _, _ = stdout.Write(out.Bytes()) }()

	if len(args) > 0 {
		if c, ok := match(args[0]); ok {
			return c.run(r, args[1:])
		}
	}
	r.printf("\nUsage: %s COMMAND [OPTIONS] DRIVE\n\nSupported COMMANDs:\n\n", r.Name)
	for _, c := range commands() {
		r.printf("    %-15s  %s\n", c.name, c.comment)
	}
	r.printf("\nFor more detailed usage, use %s COMMAND -h\n\n", r.Name)
	r.printf("A write that would leave no bootable slot on a disk needs --force.\n\n")
	return 1
}

// match finds the command by its name or by a beginning that only it has.
func match(word string) (command, bool) {
	var found []command
	for _, c := range commands() {
		if c.name == word {
			return c, true
		}
		if strings.HasPrefix(c.name, word) {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return command{}, false
	}
	return found[0], true
}

func (r *run) printf(format string, args ...any) { fmt.Fprintf(r.Stdout, format, args...) }

// errorf prints an error without a line end of its own and returns exit
// code 1.
func (r *run) errorf(format string, args ...any) int {
	fmt.Fprintf(r.Stderr, "ERROR: "+format, args...)
	return 1
}

func (r *run) warnf(format string, args ...any) { fmt.Fprintf(r.Stderr, "WARNING: "+format, args...) }
