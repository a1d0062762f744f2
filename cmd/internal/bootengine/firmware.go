package bootengine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"slipway/partitions"
)

const (
	efivars = "/sys/firmware/efi/efivars"
	// loaderDevice is set by systemd's UKI stub to the UUID of the partition
	// it was loaded from (systemd.io/BOOT_LOADER_INTERFACE).
	loaderDevice = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	// efiGlobal is the vendor of the variables the UEFI specification names.
	efiGlobal = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// efiHead is how many bytes of attributes efivarfs puts before a variable.
	efiHead = 4
	// maxOption bounds a boot option, in bytes.
	maxOption = 16 << 10
)

// firmware is what UEFI says of the start of this machine; its zero value is
// all that other machines say.
type firmware struct {
	partition string            // UUID of the one it started from, lower case; or ""
	place     string            // of the disk it started from, or ""
	options   map[string][]byte // the boot options, by name: "Boot0001"
}

// readFirmware mounts and reads UEFI's variables, if there are any.
func readFirmware() firmware {
	if _, err := os.Stat(efivars); err != nil {
		return firmware{}
	}
	// Mounted already is as good; systemd keeps the mount.
	_ = unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return parseFirmware(os.DirFS(efivars))
}

// parseFirmware reads what efivarfs, whose root is given, shows.
func parseFirmware(vars fs.FS) firmware {
	f := firmware{options: map[string][]byte{}}
	if raw := readVariable(vars, loaderDevice); raw != nil {
		f.partition = parseLoaderDevice(raw)
	}
	names, _ := fs.Glob(vars, "Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]"+efiGlobal) // the pattern is good
	for _, name := range names {
		f.options[strings.TrimSuffix(name, efiGlobal)] = readVariable(vars, name)
	}
	if raw := readVariable(vars, "BootCurrent"+efiGlobal); len(raw) == 2 {
		f.place = optionPlace(f.options[fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(raw))])
	}
	return f
}

// readVariable is a variable's content, nil if there is none.
func readVariable(vars fs.FS, name string) []byte {
	raw, err := fs.ReadFile(vars, name)
	if err != nil || len(raw) < efiHead || len(raw) > maxOption {
		return nil
	}
	return raw[efiHead:]
}

// refersTo says whether one of the firmware's boot options names a partition,
// which then has to keep its UUID to be found.
func (f firmware) refersTo(id uuid.UUID) bool {
	var guid [16]byte
	partitions.PutGUID(guid[:], id)
	for _, option := range f.options {
		if bytes.Contains(option, guid[:]) {
			return true
		}
	}
	return false
}

// parseLoaderDevice decodes the stub's variable, UTF-16 with a NUL at the end.
func parseLoaderDevice(raw []byte) string {
	if len(raw) > 252 {
		return ""
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	text, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return strings.ToLower(text)
}
