package bootengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"slipway/cmd/internal/blockdev"
)

const (
	// reportPath tells the running system how it was started.
	reportPath = "/run/slipway/boot.json"
	// systemdWatchdog overrides the image's file of the same name.
	systemdWatchdog = "/run/systemd/system.conf.d/10-slipway-watchdog.conf"
	// systemdOEM has systemd mount this disk's partition where several disks
	// have one of that label.
	systemdOEM = "/run/systemd/system/oem.mount.d/10-slipway-disk.conf"
	oemLabel   = "OEM"
)

// report is what the engine leaves behind.
type report struct {
	Slot     *slot
	Disk     *disk
	Failures []failure         // of slots that were passed over
	Versions map[string]string // in all slots, by label
	Watchdog *watchdog
	Hung     bool // the start before this one
}

// text is a JSON object:
//
//	disk, device            "/dev/vda", "/dev/vda3"
//	slot, partition         label and number of the slot that was started
//	version, development    from its footer, as root_hash and boot_id
//	on_trial                it has not proven itself yet
//	tries_left              how many more times it would be tried
//	verify                  "full" or "lazy": what was verified before
//	failures                label: reason, of the slots passed over
//	versions                label: version, of all slots with a good footer
//	watchdog                device and seconds; not there if none is armed
//	ended_by_watchdog       whether the start before this one hung
func (r *report) text() ([]byte, error) {
	failures := map[string]string{}
	for _, f := range r.Failures {
		failures[f.Label] = f.Err.Error()
	}
	p := r.Slot.part
	if now, ok := r.Disk.table.Partition(p.Number); ok {
		p = now // a try may have been taken
	}
	object := map[string]any{
		"disk": "/dev/" + r.Disk.name, "slot": p.Label, "partition": p.Number,
		"device": r.Slot.device, "version": r.Slot.footer.Version, "development": r.Slot.footer.Development,
		"root_hash": r.Slot.footer.RootHash, "boot_id": r.Slot.footer.BootID,
		"on_trial": !p.Attributes.Successful(), "tries_left": p.Attributes.Tries(),
		"verify": r.Slot.verified, "failures": failures, "versions": r.Versions,
		"ended_by_watchdog": r.Hung,
	}
	if r.Watchdog.file != nil {
		object["watchdog"] = map[string]any{"device": r.Watchdog.name, "seconds": r.Watchdog.seconds}
	}
	return json.MarshalIndent(object, "", "  ")
}

// leaveBehind writes the report and what else the system wants to know.
func (e *engine) leaveBehind(r *report) error {
	text, err := r.text()
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	err = writeRun(reportPath, append(text, '\n'))
	if config := r.Watchdog.systemdConfig(e.config.watchdogAsked); config != "" {
		err = errors.Join(err, writeRun(systemdWatchdog, []byte(config)))
	}
	if p, ok := r.Disk.table.ByLabel(oemLabel); ok {
		err = errors.Join(err, writeRun(systemdOEM, []byte(oemConfig(blockdev.Partition(r.Disk.name, p.Number)))))
	}
	return err
}

// oemConfig is what is to be different about the image's oem.mount.
func oemConfig(partition string) string {
	return "# Made by bootengine: the disk that was started from.\n[Mount]\nWhat=/dev/" + partition + "\n"
}

func writeRun(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
