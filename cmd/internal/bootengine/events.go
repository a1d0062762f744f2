package bootengine

import (
	"time"

	"golang.org/x/sys/unix"
)

// events listens to the kernel's device events, to look again at once when a
// disk appears and not only when some time has passed.
type events struct {
	fd int // -1: not to be had, wait by time alone
}

func listenEvents() *events {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return &events{-1}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return &events{-1}
	}
	return &events{fd}
}

// wait returns after the next event, or after d.
func (e *events) wait(d time.Duration) {
	if e.fd < 0 {
		time.Sleep(d)
		return
	}
	poll := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, int(d.Milliseconds())); n < 1 {
		return
	}
	// The text of the events does not matter, only that there were some.
	buf := make([]byte, 4096)
	for {
		if _, _, err := unix.Recvfrom(e.fd, buf, unix.MSG_DONTWAIT); err != nil {
			return
		}
	}
}

func (e *events) close() {
	if e.fd >= 0 {
		_ = unix.Close(e.fd)
	}
}
