package bootengine

import (
	"encoding/json"
	"fmt"
	"os"
)

// reportPath tells the running system how it was started.
const reportPath = "/run/slipway/boot.json"

// report is what the engine leaves behind.
type report struct {
	Slot     *slot
	Disk     *disk
	Failures []failure // of slots that were passed over
}

// text is a JSON object with disk, slot (label), partition (number), device,
// version, development, root_hash, boot_id, verify and failures (label: reason).
func (r *report) text() ([]byte, error) {
	failures := map[string]string{}
	for _, f := range r.Failures {
		failures[f.Label] = f.Err.Error()
	}
	return json.MarshalIndent(map[string]any{
		"disk": "/dev/" + r.Disk.name, "slot": r.Slot.part.Label, "partition": r.Slot.part.Number,
		"device": r.Slot.device, "version": r.Slot.footer.Version, "development": r.Slot.footer.Development,
		"root_hash": r.Slot.footer.RootHash, "boot_id": r.Slot.footer.BootID,
		"verify": r.Slot.verified, "failures": failures,
	}, "", "  ")
}

func writeReport(r *report) error {
	text, err := r.text()
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	if err := os.MkdirAll("/run/slipway", 0o755); err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	return os.WriteFile(reportPath, append(text, '\n'), 0o644)
}
