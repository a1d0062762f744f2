package slots

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"slipway/signing/keyset"
)

const (
	osReleasePath = "usr/lib/os-release"
	maxKeys       = 256 << 10 // bytes
)

// Keys is the key set that the running version brings in its verified /usr, and
// when that version was built: earlier than that it is not now, whatever the
// clock says.
func (m Machine) Keys() (*keyset.Set, time.Time, error) {
	built, err := os.Stat(filepath.Join(m.Root, osReleasePath))
	if err != nil {
		return nil, time.Time{}, err
	}
	f, err := os.Open(filepath.Join(m.Root, "usr", keyset.Path))
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeys+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	file, err := keyset.Read(text)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("/usr/%s: %w", keyset.Path, err)
	}
	return file.Set, built.ModTime(), nil
}
