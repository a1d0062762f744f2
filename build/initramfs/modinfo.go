package initramfs

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"slipway/build/tree"
)

// maxModinfo bounds the .modinfo section of a module, in bytes.
const maxModinfo = 1 << 20

// modinfo is what a module says of itself in its section .modinfo:
// NUL-terminated "name=value" strings (see the kernel's
// include/linux/module.h, MODULE_INFO).
type modinfo struct {
	name    string
	aliases []string // of devices, as in modalias files
	depends []string // names
	scsi    bool     // it serves devices that SCSI hosts find
}

func readModinfo(m Module) (*modinfo, error) {
	data, err := tree.ReadAll(m.Blob)
	if err != nil {
		return nil, err
	}
	info, err := parseModinfo(data)
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", m.Path, err)
	}
	info.name = moduleName(m.Path)
	return info, nil
}

func parseModinfo(data []byte) (*modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not an uncompressed module: %w", err)
	}
	info := new(modinfo)
	section := f.Section(".modinfo")
	if section == nil {
		return info, nil
	}
	if section.Size > maxModinfo {
		return nil, fmt.Errorf(".modinfo: %d bytes, want at most %d", section.Size, maxModinfo)
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf(".modinfo: %w", err)
	}
	for field := range strings.SplitSeq(string(text), "\x00") {
		name, value, _ := strings.Cut(field, "=")
		switch {
		case name == "depends" && value != "":
			for d := range strings.SplitSeq(value, ",") {
				info.depends = append(info.depends, normal(d))
			}
		case name == "alias" && strings.HasPrefix(value, "scsi:"):
			info.scsi = true
		case name == "alias" && isDeviceAlias(value):
			info.aliases = append(info.aliases, value)
		}
	}
	return info, nil
}

// isDeviceAlias says whether an alias names devices on a bus the boot engine
// looks at. White space would break the format of ModulesOrderPath.
func isDeviceAlias(alias string) bool {
	bus, _, ok := strings.Cut(alias, ":")
	return ok && !strings.ContainsAny(alias, " \t\n") &&
		slices.Contains([]string{"acpi*", "pci", "platform", "virtio", "vmbus", "xen"}, bus)
}

// conditions works out for each module which devices it is for: its own and
// those of the modules that depend on it. A module with an empty list is loaded
// on every machine.
func conditions(infos []*modinfo) [][]string {
	dependents := map[string][]int{}
	for i, m := range infos {
		for _, d := range m.depends {
			dependents[d] = append(dependents[d], i)
		}
	}
	result := make([][]string, len(infos))
	// Modules come after what they need, so dependents are done first.
	for i := len(infos) - 1; i >= 0; i-- {
		m := infos[i]
		users := dependents[m.name]
		if m.scsi {
			continue // below, when the hosts are known
		}
		list, always := slices.Clone(m.aliases), len(m.aliases) == 0 && len(users) == 0
		for _, u := range users {
			if infos[u].scsi {
				continue // it follows the hosts
			}
			list = append(list, result[u]...)
			always = always || len(result[u]) == 0
		}
		if !always {
			slices.Sort(list)
			result[i] = slices.Compact(list)
		}
	}
	for i, m := range infos {
		if m.scsi {
			result[i] = scsiHosts(infos, result, dependents["scsi_mod"])
		}
	}
	return result
}

// scsiHosts is what the SCSI hosts among the users of scsi_mod are for.
func scsiHosts(infos []*modinfo, done [][]string, users []int) []string {
	var list []string
	for _, u := range users {
		if !infos[u].scsi {
			list = append(list, done[u]...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
