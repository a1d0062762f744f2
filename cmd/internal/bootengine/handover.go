package bootengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"slipway/build/initramfs"
)

// maxHandover bounds the file in bytes; a real one has some hundred.
const maxHandover = 64 << 10

// handover is what a kernel tells the one it starts by kexec and nobody could
// find out again. It travels as a file in the initramfs.
type handover struct {
	// Failures are of slots that were passed over.
	Failures []failure `json:"failures,omitempty"`
	// Hung says that the watchdog ended the start before.
	Hung bool `json:"hung,omitempty"`
	// Said are the lines on the console, which no journal has otherwise.
	Said []string `json:"said,omitempty"`
}

// readHandover reads it from the initramfs, whose root is given. There need
// not be one.
func readHandover(root fs.FS) (h handover, err error) {
	f, err := root.Open(handoverPath)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("handover: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHandover+1))
	if err == nil && len(text) > maxHandover {
		err = fmt.Errorf("more than %d bytes", maxHandover)
	}
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		return handover{}, fmt.Errorf("handover: %w", err)
	}
	return h, nil
}

// appendTo adds the handover to an initramfs, whose size is a multiple of four
// bytes and whose end is where the file stands.
func (h handover) appendTo(f *os.File) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	if len(text) > maxHandover {
		return fmt.Errorf("handover: %d bytes, at most %d are read", len(text), maxHandover)
	}
	archive, err := initramfs.File(handoverPath, text, 0)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	if _, err := f.Write(archive); err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	return nil
}
