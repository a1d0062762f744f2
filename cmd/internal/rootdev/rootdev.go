// Package rootdev is the program rootdev: it shows the block device that
// holds a path, as CoreOS's (seismograph) did.
//
// With -s it looks through device-mapper and the like to the partition
// beneath, so that "rootdev -s /usr" names the slot the machine runs from;
// with -d it shows the disk instead of the partition. It reads sysfs and
// creates nothing; the original's -c and its ChromeOS links are left out.
package rootdev

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Env is what the program sees of the world.
type Env struct {
	// Name is the program's name in usage texts.
	Name string
	// Stdout and Stderr take output and errors.
	Stdout, Stderr io.Writer
	// Dev, Proc and Sys are the roots of those file systems.
	Dev, Proc, Sys string
	// Stat is stat(2), usually unix.Stat.
	Stat func(path string, st *unix.Stat_t) error
}

// options are those of the command line.
type options struct {
	disk, beneath, ignore bool
	path                  string
}

// Main runs the program with the arguments after its name and returns the
// exit code.
func Main(args []string, env Env) int {
	o := options{path: "/"}
	var paths []string
	for _, a := range args {
		switch strings.TrimPrefix(a, "-") {
		case "-d", "d":
			o.disk = true
		case "-s", "s":
			o.beneath = true
		case "-i", "i":
			o.ignore = true
		default:
			if strings.HasPrefix(a, "-") {
				return env.usage()
			}
			paths = append(paths, a)
		}
	}
	if len(paths) > 1 {
		fmt.Fprintf(env.Stderr, "Too many free arguments: %d\n", len(paths)-1)
		return env.usage()
	}
	if len(paths) == 1 {
		o.path = paths[0]
	}
	device, err := env.find(o)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", env.Name, err)
		return 1
	}
	fmt.Fprintln(env.Stdout, device)
	if _, err := os.Stat(device); err != nil && !o.ignore {
		return 1
	}
	return 0
}

func (e Env) usage() int {
	fmt.Fprintf(e.Stderr, "%s [OPTIONS] [PATH]\n"+
		"Outputs the containing device for the specified PATH.\n"+
		"With no arguments, '/' is assumed.\n\nOptions:\n  -h\tthis message.\n\n"+
		"  -d\treturn the block device only if possible\n"+
		"  -i\treturn path even if the node doesn't exist\n"+
		"  -s\tif possible, return the first slave of the root device\n", e.Name)
	return 1
}

// maxDepth bounds how many devices may be stacked.
const maxDepth = 8

// find returns the path of the device node.
func (e Env) find(o options) (string, error) {
	number, err := e.deviceOf(o.path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(e.Sys, "dev/block",
		fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))))
	if err != nil {
		return "", fmt.Errorf("%s: no block device holds it (device number %d:%d)",
			o.path, unix.Major(number), unix.Minor(number))
	}
	for depth := 0; o.beneath && depth < maxDepth; depth++ {
		below, err := e.first(dir)
		if err != nil {
			return "", err
		}
		if below == "" {
			break
		}
		dir = below
	}
	if o.disk {
		if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
			dir = filepath.Dir(dir)
		}
	}
	return filepath.Join(e.Dev, strings.ReplaceAll(filepath.Base(dir), "!", "/")), nil
}

// first is the sysfs folder of the first device that a device is made of,
// "" if it is made of none.
func (e Env) first(dir string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil || len(entries) == 0 {
		return "", nil
	}
	below, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", entries[0].Name()))
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(dir), err)
	}
	return below, nil
}

// deviceOf is the number of the device that holds a path. The mount table
// goes first: some file systems have device numbers of their own.
func (e Env) deviceOf(path string) (uint64, error) {
	var st unix.Stat_t
	if source := e.mountSource(filepath.Clean(path)); strings.HasPrefix(source, "/") {
		if err := e.Stat(source, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return uint64(st.Rdev), nil
		}
	}
	if err := e.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return uint64(st.Rdev), nil
	}
	return uint64(st.Dev), nil
}

// mountSource is what is mounted on exactly this path, last mount first, ""
// if nothing is.
func (e Env) mountSource(path string) string {
	f, err := os.Open(filepath.Join(e.Proc, "mounts"))
	if err != nil {
		return ""
	}
	defer f.Close()
	source := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && unescape(fields[1]) == path {
			source = unescape(fields[0])
		}
	}
	return source
}

// unescape undoes the octal escapes of the mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
