package bootengine

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// initProgram is what takes over.
const initProgram = "/usr/lib/systemd/systemd"

// switchRoot completes the root, leaves the initramfs and becomes systemd. It
// returns only with an error.
func (e *engine) switchRoot(s *slot) error {
	if err := makeSkeleton(rootMount); err != nil {
		return fmt.Errorf("%s: %w", rootLabel, err)
	}
	if err := ensureMachineID(filepath.Join(rootMount, "etc"), rand.Reader); err != nil {
		return fmt.Errorf("%s: %w", rootLabel, err)
	}
	if err := armSlot(s); err != nil {
		return err
	}
	for _, dir := range []string{usrMount, "/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(dir, rootMount+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := unix.Chdir(rootMount); err != nil {
		return err
	}
	if err := freeInitramfs("/"); err != nil {
		e.say("free the initramfs: %v", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := mountEtc(); err != nil {
		return err
	}
	e.lap("switch")
	e.say("boot %s", &e.clock)
	e.say("%s: starting version %s", s.part.Label, s.footer.Version)
	e.watchdog.release()
	err := unix.Exec(initProgram, append([]string{initProgram}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("start %s: %w", initProgram, err)
}

// freeInitramfs removes the files of the initramfs, which would take memory
// for as long as the machine runs. Other file systems are not entered, and
// nothing happens if the root is not a file system in memory.
func freeInitramfs(root string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return err
	}
	if st.Type != unix.RAMFS_MAGIC && st.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("the root is not in memory (type %#x)", st.Type)
	}
	var top unix.Stat_t
	if err := unix.Lstat(root, &top); err != nil {
		return err
	}
	removeWithin(root, top.Dev)
	return nil
}

// removeWithin removes what is below a directory on one device. What cannot be
// removed stays.
func removeWithin(dir string, dev uint64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Dev != dev {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			removeWithin(path, dev)
		}
		_ = os.Remove(path)
	}
}
