package bootengine

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/blockdev"
)

const (
	// watchdogSeconds is the watchdog's time-out unless the command line says
	// another: longer than any single step between two signs of progress, and
	// than a firmware needs to come back to the kernel.
	watchdogSeconds = 120
	// Shorter ones would fire in the engine's own waits, longer ones are more
	// than the devices can count.
	watchdogMin, watchdogMax = 30, 2000

	// watchdogDevice is the one systemd takes over as well.
	watchdogDevice = "/dev/watchdog0"
	watchdogClass  = "class/watchdog/watchdog0"
	// watchdogDrivers is in the path of every driver of a watchdog.
	watchdogDrivers = "/drivers/watchdog/"
	// standIn is the driver that watches programs, where no device watches the
	// kernel as well.
	standIn = "softdog"

	// progressBytes is how many bytes must have been read between two pings.
	progressBytes = 16 << 20

	// cardReset is WDIOF_CARDRESET of <linux/watchdog.h>.
	cardReset = 0x20
)

// watchdog resets the machine unless it is pinged in time. Pings are for
// progress only, never for time that passes, so that a hang anywhere ends in a
// reset. It is never disarmed: it goes on through a kexec, to guard the start
// of the next kernel, and through the exec of systemd, which takes it over.
// The zero value is no watchdog.
type watchdog struct {
	file    io.WriteCloser // nil: there is none
	name    string         // of the device, as its driver calls it
	seconds int
	fired   bool // it ended the start before this one
}

// ping says that there is progress.
func (w *watchdog) ping() {
	if w.file != nil {
		_, _ = w.file.Write([]byte{0}) // there is nobody to tell
	}
}

// progress returns a reader that pings for every so many bytes read.
func (w *watchdog) progress(r io.ReaderAt) io.ReaderAt { return &progressReader{r: r, dog: w} }

// progressReader is for several goroutines at once, as its reader is.
type progressReader struct {
	r    io.ReaderAt
	dog  *watchdog
	read atomic.Int64
}

func (p *progressReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.r.ReadAt(b, off)
	after := p.read.Add(int64(n))
	if after/progressBytes != (after-int64(n))/progressBytes {
		p.dog.ping()
	}
	return n, err
}

// release lets another program have the device, which stays armed. The kernel
// calls it critical that the watchdog was not stopped, which is the purpose:
// the line goes into the log and not on the console.
func (w *watchdog) release() {
	if w.file == nil {
		return
	}
	w.ping()
	const printk = "/proc/sys/kernel/printk"
	if levels, err := os.ReadFile(printk); err == nil {
		_ = os.WriteFile(printk, []byte("1"), 0)
		defer func() { _ = os.WriteFile(printk, levels, 0) }()
	}
	_ = w.file.Close()
	w.file = nil
}

// parseWatchdog reads the argument slipway.watchdog: seconds, or "off", which
// is 0. Nonsense gives the usual time-out and a problem to be said.
func parseWatchdog(value string) (seconds int, problem string) {
	if value == "off" {
		return 0, ""
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < watchdogMin || n > watchdogMax {
		return watchdogSeconds, fmt.Sprintf("argument %q: want %d to %d seconds or off; taking %d",
			"slipway.watchdog="+value, watchdogMin, watchdogMax, watchdogSeconds)
	}
	return n, ""
}

// armWatchdog loads the drivers of watchdogs and starts the first device there
// is, or the kernel's stand-in.
func (e *engine) armWatchdog() {
	dogs, others := splitWatchdogs(e.config.modules)
	e.drivers.waiting = others
	e.watchdog.seconds = e.config.watchdog
	if e.config.watchdog == 0 {
		e.say("no watchdog, as the command line says: a hang will not be noticed")
		return
	}
	devices, rest := splitStandIn(dogs)
	d := *e.drivers
	d.waiting = devices
	d.settle()
	sys := os.DirFS("/sys")
	if !exists(sys, watchdogClass) {
		e.say("no watchdog device: a kernel that hangs will not be noticed; %s watches what runs on it", standIn)
		d.waiting = rest
		d.loadAll()
	}
	if err := e.watchdog.arm(sys); err != nil {
		e.say("watchdog: %v", err)
		return
	}
	if e.watchdog.fired {
		e.say("the start before this one hung and was ended by the watchdog (%s)", e.watchdog.name)
	}
}

// arm opens the device, which starts it.
func (w *watchdog) arm(sys fs.FS) error {
	f, err := os.OpenFile(watchdogDevice, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.file = f
	w.describe(sys)
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, w.seconds); err != nil {
		return fmt.Errorf("set its time-out to %d seconds: %w", w.seconds, err)
	}
	w.ping()
	return nil
}

// describe takes from /sys, whose root is given, what the device says of itself.
func (w *watchdog) describe(sys fs.FS) {
	if text, err := fs.ReadFile(sys, path.Join(watchdogClass, "identity")); err == nil {
		w.name = strings.TrimSpace(string(text))
	}
	if status, err := blockdev.ReadNumber(sys, path.Join(watchdogClass, "bootstatus")); err == nil {
		w.fired = status&cardReset != 0
	}
}

// splitWatchdogs takes the drivers of watchdogs, and the core they share, out
// of the list of modules.
func splitWatchdogs(list []module) (dogs, others []module) {
	for _, m := range list {
		if strings.Contains(m.path, watchdogDrivers) {
			dogs = append(dogs, m)
		} else {
			others = append(others, m)
		}
	}
	return dogs, others
}

// splitStandIn parts the drivers of devices from the one that needs none.
func splitStandIn(dogs []module) (devices, rest []module) {
	for _, m := range dogs {
		if m.name() == standIn {
			rest = append(rest, m)
		} else {
			devices = append(devices, m)
		}
	}
	return devices, rest
}

func exists(root fs.FS, name string) bool {
	_, err := fs.Stat(root, name)
	return err == nil
}

// systemdConfig is what systemd is to do with the watchdog if the command line
// asked for something; otherwise the image's own file of that name holds.
func (w *watchdog) systemdConfig(asked bool) string {
	if !asked {
		return ""
	}
	value := "off"
	if w.seconds > 0 {
		value = fmt.Sprintf("%ds", w.seconds)
	}
	return "# Made by bootengine from the kernel argument slipway.watchdog.\n[Manager]\nRuntimeWatchdogSec=" + value + "\n"
}
