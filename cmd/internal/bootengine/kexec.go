package bootengine

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/kexec"
)

// startKernel starts the slot's own kernel, to which it hands over what was
// found out so far. It returns only with an error.
func (e *engine) startKernel(s *slot, failures []failure) error {
	defer s.kernel.Close()
	h := handover{Failures: failures, Hung: e.watchdog.fired, Said: e.said}
	if err := h.appendTo(s.kernel.Initrd); err != nil {
		return err
	}
	if err := s.kernel.Load(); err != nil {
		return err
	}
	e.say("%s: version %s brings another kernel: starting it", s.part.Label, s.footer.Version)
	e.lap("kexec")
	e.say("boot %s (to be continued by the slot's kernel)", &e.clock)
	unix.Sync()
	return fmt.Errorf("start its kernel: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC))
}

// readKernel takes the kernel out of the slot's UKI, which the footer vouches
// for.
func readKernel(s *slot, d *disk) (*kexec.Kernel, error) {
	f, err := os.Open(filepath.Join(usrMount, s.footer.UKI.Path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k, err := kexec.Read(f, &s.footer.UKI)
	if err != nil {
		return nil, err
	}
	k.Add(kexecArguments(s.part.Number, d))
	return k, nil
}

// kexecArguments are what was found out and must not be found out again.
func kexecArguments(slot int, d *disk) string {
	return fmt.Sprintf("slipway.slot=%d %s", slot, kexec.OnDisk(d.table, d.place))
}
