package bootengine

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// isAt says whether a disk's place (see blockdev.Place) is the one the firmware names, which may
// leave out the end.
func isAt(disk, firmware string) bool {
	return firmware != "" && (disk == firmware || strings.HasPrefix(disk, firmware+"/"))
}

// Nodes of a device path: UEFI specification 2.10, section 10.3.
const (
	nodePCI  = 0x0101
	nodeSCSI = 0x0302
	nodeSATA = 0x0312
	nodeNVMe = 0x0317
	nodeEnd  = 0x7f

	loadOptionHead = 6 // attributes, length of the path list
)

// optionPlace is the place in a boot option as the firmware keeps it
// (EFI_LOAD_OPTION, UEFI specification 2.10, 3.1.3), "" if it names none.
func optionPlace(option []byte) string {
	if len(option) < loadOptionHead {
		return ""
	}
	rest := option[loadOptionHead:]
	for { // the description, up to its NUL
		if len(rest) < 2 {
			return ""
		}
		end := rest[0] == 0 && rest[1] == 0
		rest = rest[2:]
		if end {
			break
		}
	}
	return pathPlace(rest[:min(len(rest), int(binary.LittleEndian.Uint16(option[4:])))])
}

// pathPlace reads a device path up to the disk.
func pathPlace(nodes []byte) string {
	le := binary.LittleEndian
	var words []string
	for len(nodes) >= 4 {
		size := int(le.Uint16(nodes[2:]))
		if size < 4 || size > len(nodes) || nodes[0] == nodeEnd {
			break
		}
		data := nodes[4:size]
		switch kind := int(nodes[0])<<8 | int(nodes[1]); {
		case kind == nodePCI && len(data) >= 2:
			words = append(words, fmt.Sprintf("%02x.%x", data[1], data[0]))
		case kind == nodeSCSI && len(data) >= 4:
			words = append(words, fmt.Sprintf("scsi:%d:%d", le.Uint16(data), le.Uint16(data[2:])))
		case kind == nodeSATA && len(data) >= 2:
			words = append(words, fmt.Sprintf("ata:%d", le.Uint16(data)))
		case kind == nodeNVMe && len(data) >= 4:
			words = append(words, fmt.Sprintf("nvme:%d", le.Uint32(data)))
		}
		nodes = nodes[size:]
	}
	return strings.Join(words, "/")
}
