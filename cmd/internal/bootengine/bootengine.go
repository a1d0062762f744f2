// Package bootengine is PID 1 of the initramfs: it finds the disk, chooses the
// slot, verifies it, and hands the machine over to systemd in it.
//
//	watchdog -> drivers -> disk (table, identity)
//	        -> slot (tries, footer, dm-verity, EROFS)
//	        -> kexec, if the slot's kernel is another one
//	        -> ROOT (make, check, grow) -> /etc -> systemd
//
// Whatever goes wrong is one line on the console. A slot that fails a check, or
// whose kernel cannot be started, is passed over for the next best one in the
// same boot; everything else ends in a reboot, whose slot choice then finds one
// try less. So does a hang: the watchdog is pinged for progress only, and stays
// armed while another kernel or systemd takes over.
//
// It takes from the kernel's command line:
//
//	slipway.verify=auto|full|lazy  what to verify before a slot is started
//	slipway.watchdog=SECONDS|off   how long the boot may be without progress
//	slipway.esp=UUID               take the disk with this partition
//	slipway.disk=PLACE             of several such, the one attached there
//	slipway.slot=N                 from the kernel before: the slot is chosen
//	MODULE.PARAMETER=VALUE         for the modules it loads
//
// and leaves /run/slipway/boot.json behind, which says what was started.
//
// The package decides in plain functions and types (chooser, pickDisk,
// planIdentity, planRoot, ...) that tests use without a kernel; the rest is
// system calls. It does not update anything and never changes the attributes of
// a proven slot.
package bootengine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

const (
	// stopDelay is how long a fatal line stays readable before the reboot.
	stopDelay = 5 * time.Second
	// retryDelay is how long "no slot can be started" waits for a key.
	retryDelay = 30 * time.Second
)

// engine is one boot.
type engine struct {
	*console
	clock    stopwatch
	config   *config
	drivers  *drivers
	firmware firmware
	watchdog watchdog
}

// Main boots the machine. It does not return: systemd, another kernel or a
// reboot follows.
func Main() {
	e := &engine{console: new(console)}
	e.clock.start()
	err := e.protected()
	var none *noSlotError
	if errors.As(err, &none) {
		e.say("no slot can be started:")
		for _, line := range none.lines() {
			e.say("  %s", line)
		}
		e.say("rebooting in %s, or at once when a key is pressed", retryDelay)
		e.waitForKey(retryDelay)
	} else {
		e.say("boot stopped: %v; rebooting in %s", err, stopDelay)
		time.Sleep(stopDelay)
	}
	reboot()
}

// protected turns a panic, which would be a bug, into an error.
func (e *engine) protected() (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			e.say("%s", debug.Stack())
			err = fmt.Errorf("internal error: %v", bug)
		}
	}()
	return e.boot()
}

// boot is the whole story. It returns only with an error.
func (e *engine) boot() error {
	if err := mountKernelFileSystems(); err != nil {
		return err
	}
	e.open()
	var err error
	if e.config, err = readConfig(os.DirFS("/")); err != nil {
		return err
	}
	e.repeat(e.config.handover.Said)
	for _, problem := range e.config.problems {
		e.say("%s", problem)
	}
	if err := restartAfterPanic(e.config); err != nil {
		e.say("%v", err)
	}

	e.drivers = &drivers{waiting: e.config.modules, load: e.config.loadModule, say: e.say}
	e.armWatchdog()
	e.drivers.settle()
	e.lap("modules")

	e.firmware = readFirmware()
	d, err := e.findDisk()
	if err != nil {
		return err
	}
	defer d.close()
	if err := e.tendTable(d, rand.Reader); err != nil {
		e.say("disk %s: %v", d.name, err)
	}
	e.lap("disk")

	src := &opener{engine: e, disk: d, doubt: e.rootDoubt(d)}
	s, failures, err := e.chooseSlot(&chooser{table: d.table, src: src, say: e.say})
	if err != nil {
		return err
	}
	e.lap("verify")
	if s.footer.BootID != e.config.bootID {
		return fmt.Errorf("%s: its kernel was started and still says boot id %.16s, the footer %.16s",
			s.part.Label, e.config.bootID, s.footer.BootID)
	}

	if err := e.prepareRoot(d); err != nil {
		return err
	}
	e.lap("root")
	err = e.leaveBehind(&report{
		Slot: s, Disk: d, Failures: failures, Versions: src.versions(),
		Watchdog: &e.watchdog, Hung: e.watchdog.fired || e.config.handover.Hung,
	})
	if err != nil {
		e.say("%v", err)
	}
	return e.switchRoot(s)
}

// lap ends a phase, which is progress.
func (e *engine) lap(name string) {
	e.clock.lap(name)
	e.watchdog.ping()
}

// chooseSlot opens the slot to go on with, and returns what was passed over. A
// slot with another kernel is started with it, from which there is a return
// only if the kernel cannot be started: then the next slot has its turn.
func (e *engine) chooseSlot(c *chooser) (*slot, []failure, error) {
	if e.config.slot != 0 {
		s, err := c.given(e.config.slot)
		return s, e.config.handover.Failures, err
	}
	for {
		s, err := c.next()
		if err != nil || s.kernel == nil {
			return s, c.failures, err
		}
		e.lap("verify")
		c.reject(s.part, e.startKernel(s, c.failures))
		unmountSlot()
	}
}
