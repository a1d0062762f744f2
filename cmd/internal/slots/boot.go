package slots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// bootPath is the report of the boot engine, below the root.
const bootPath = "run/slipway/boot.json"

// Boot is what the boot engine says of this boot, as far as programs of the
// system need it: see package bootengine.
type Boot struct {
	Disk        string `json:"disk"`
	Slot        string `json:"slot"`
	Partition   int    `json:"partition"`
	Version     string `json:"version"`
	RootHash    string `json:"root_hash"`
	Development bool   `json:"development"`
	// Failures are the slots that were passed over, by label, and why.
	Failures map[string]string `json:"failures"`
	// Versions are those of all slots with a good footer, by label.
	Versions map[string]string `json:"versions"`
	// EndedByWatchdog is about the start before this one.
	EndedByWatchdog bool `json:"ended_by_watchdog"`
}

// Boot reads the report. A machine that did not start from a slot has none:
// then the error is fs.ErrNotExist.
func (m Machine) Boot() (*Boot, error) {
	text, err := os.ReadFile(filepath.Join(m.Root, bootPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("boot report: %w", err)
	}
	b := new(Boot)
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("boot report /%s: %w", bootPath, err)
	}
	return b, nil
}
