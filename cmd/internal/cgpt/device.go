package cgpt

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// wholeDisk turns the path of a partition device into that of its disk and
// the partition's number. Every other path comes back as it is, with 0.
func (r *run) wholeDisk(path string) (disk string, number uint32) {
	var st unix.Stat_t
	if r.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return path, 0
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(r.Sys, "dev/block",
		fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))))
	if err != nil {
		return path, 0
	}
	b, err := os.ReadFile(filepath.Join(dir, "partition"))
	if err != nil {
		return path, 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return path, 0
	}
	return filepath.Join(r.Dev, deviceName(filepath.Base(filepath.Dir(dir)))), uint32(n)
}

// deviceName is a device's name under /dev: sysfs writes "!" for "/".
func deviceName(sysfs string) string { return strings.ReplaceAll(sysfs, "!", "/") }

// disks lists the paths of all disks that may hold partitions, in the order
// of /proc/partitions.
func (r *run) disks() []string {
	f, err := os.Open(filepath.Join(r.Proc, "partitions"))
	if err != nil {
		fmt.Fprintf(r.Stderr, "can't read /proc/partitions: %s\n", cause(err))
		return nil
	}
	defer f.Close()
	var list []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 4 || !r.isDisk(fields[3]) {
			continue
		}
		list = append(list, filepath.Join(r.Dev, fields[3]))
	}
	return list
}

// isDisk says whether a name of /proc/partitions is a real disk, or one the
// kernel found partitions on.
func (r *run) isDisk(name string) bool {
	dir := filepath.Join(r.Sys, "block", strings.ReplaceAll(name, "/", "!"))
	if _, err := os.Stat(filepath.Join(r.Dev, name)); err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(dir, "device")); err == nil {
		return true
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*", "partition"))
	return len(found) > 0
}
