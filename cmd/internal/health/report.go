package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Report is what other programs of the machine want to know of this boot's
// judgement.
type Report struct {
	// Version and Slot run; "" if the machine did not start from a slot, which
	// nobody judges.
	Version, Slot string
	// Healthy and Unhealthy are both false until the boot is judged. A machine
	// that nobody judges is healthy.
	Healthy, Unhealthy bool
	// Text is the phase, and what is awaited or wrong.
	Text string
	// Failures are of versions in the slots, in the order of their slots.
	Failures []Record
}

// Failure is why a version failed, "" if it is not known to have.
func (r *Report) Failure(version string) string {
	for _, f := range r.Failures {
		if f.Version == version {
			return f.Reason
		}
	}
	return ""
}

// ReadReport reads what is known now, below a root.
func ReadReport(root string) (*Report, error) {
	e := &Env{Root: root}
	b, err := e.machine().Boot()
	if errors.Is(err, fs.ErrNotExist) {
		return &Report{Healthy: true, Text: "not started from a slot"}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Report{Version: b.Version, Slot: b.Slot, Text: "starting"}
	l, err := e.readLive()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil // the judge has not looked yet
	case err != nil:
		return nil, fmt.Errorf("health: %w", err)
	}
	r.Healthy, r.Unhealthy = l.Phase == healthy, l.Phase == unhealthy
	if r.Text = string(l.Phase); l.Reason != "" {
		r.Text += ": " + l.Reason
	}
	// A state that makes no sense is the judge's to report.
	if state, _ := e.loadState(); state != nil {
		r.Failures = state.Failures
	}
	return r, nil
}

// Follow calls changed whenever the judge has written something, and once at
// the beginning, until ctx ends.
func Follow(ctx context.Context, root string, changed func()) error {
	dir := filepath.Join(root, filepath.Dir(runPath))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	// The file is written aside and renamed: see writeAside.
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer context.AfterFunc(ctx, func() { _ = events.Close() })()
	buffer := make([]byte, 4096)
	for {
		changed()
		if _, err := events.Read(buffer); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}
