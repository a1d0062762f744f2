package bootengine

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// console prints what a person has to know. Lines go to /dev/console, and at
// the lowest priority into the kernel's log, from where the journal takes them.
type console struct {
	kmsg *os.File
	said []string // to be handed to the kernel that a kexec starts
}

// maxSaid and maxLine bound the lines that are kept, and their bytes.
const maxSaid, maxLine = 100, 300

// repeat puts lines that the kernel before said into this kernel's log, for the
// journal; the console has them.
func (c *console) repeat(lines []string) {
	for _, line := range lines[:min(len(lines), maxSaid)] {
		if c.kmsg != nil {
			_, _ = c.kmsg.WriteString("<7>slipway: before the kexec: " + line + "\n")
		}
	}
}

// open is called when /dev is mounted. A machine without a kernel log still
// boots.
func (c *console) open() {
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		c.kmsg = f
	}
}

// say prints one line, or several.
func (c *console) say(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		line = strings.TrimRight(line, "\n")
		if len(c.said) < maxSaid {
			c.said = append(c.said, line[:min(len(line), maxLine)])
		}
		line = "slipway: " + line + "\n"
		_, _ = os.Stdout.WriteString(line) // there is nobody to tell
		if c.kmsg != nil {
			_, _ = c.kmsg.WriteString("<7>" + line)
		}
	}
}

// waitForKey returns when a key is pressed on the console, or after the time.
func (c *console) waitForKey(d time.Duration) {
	fd := int(os.Stdin.Fd())
	if t, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		t.Lflag &^= unix.ICANON | unix.ECHO
		_ = unix.IoctlSetTermios(fd, unix.TCSETSF, t)
	} else {
		time.Sleep(d)
		return
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds())+1)
		if n > 0 || (err != nil && err != unix.EINTR) {
			return
		}
	}
}

// reboot never returns.
func reboot() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {} // PID 1 must not exit
}
