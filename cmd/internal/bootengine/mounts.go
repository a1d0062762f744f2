package bootengine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountKernelFileSystems mounts what everything else needs, with the options
// systemd would use: it keeps them.
func mountKernelFileSystems() error {
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		data         string
	}{
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// panicDelay is how many seconds a panic stays on the screen.
const panicDelay = "10"

// restartAfterPanic has a kernel that panics restart the machine, also where an
// image's command line says nothing about it: a machine that stands still falls
// back to no other slot.
func restartAfterPanic(c *config) error {
	if c.panicAsked {
		return nil
	}
	if err := os.WriteFile("/proc/sys/kernel/panic", []byte(panicDelay), 0); err != nil {
		return fmt.Errorf("restart after a panic: %w", err)
	}
	return nil
}
