package bootengine

import (
	"bytes"
	"os"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

const (
	efivars = "/sys/firmware/efi/efivars"
	// loaderDevice is set by systemd's UKI stub to the UUID of the partition
	// it was loaded from (systemd.io/BOOT_LOADER_INTERFACE).
	loaderDevice = efivars + "/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

// firmwarePartition is the UUID, in lower case, of the partition the firmware
// started from, or "" if it does not say.
func firmwarePartition() string {
	if _, err := os.Stat(efivars); err != nil {
		return ""
	}
	// Mounted already is as good; systemd keeps the mount.
	_ = unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	raw, err := os.ReadFile(loaderDevice)
	if err != nil {
		return ""
	}
	return parseLoaderDevice(raw)
}

// parseLoaderDevice decodes the variable as efivarfs shows it: four bytes of
// attributes, then UTF-16 with a NUL at the end.
func parseLoaderDevice(raw []byte) string {
	if len(raw) < 4 || len(raw) > 256 {
		return ""
	}
	raw = raw[4:]
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
	}
	text := []byte(string(utf16.Decode(units)))
	text, _, _ = bytes.Cut(text, []byte{0})
	return strings.ToLower(string(text))
}
