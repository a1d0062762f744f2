package bootengine

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// A place says where a disk is attached, in words that the kernel and UEFI
// firmware share: the PCI devices on the way to it as "device.function", in
// hex, and on buses with several disks "ata:PORT", "scsi:TARGET:LUN" or
// "nvme:NAMESPACE". So "04.0" is a virtio disk, "1f.2/ata:0" one at an AHCI
// controller. Copies of a disk differ in nothing else.

var (
	pciAddress  = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:([0-9a-f]{2}\.[0-7])$`)
	scsiAddress = regexp.MustCompile(`^\d+:\d+:(\d+):(\d+)$`)
	ataPort     = regexp.MustCompile(`^ata\d+$`)
)

// diskPlace is the place of a disk below /sys, whose root is given, or "".
func diskPlace(sys fs.FS, name string) string {
	link, err := fs.ReadLink(sys, path.Join("block", name))
	if err != nil {
		return ""
	}
	var words []string
	ata := false
	for word := range strings.SplitSeq(link, "/") {
		if m := pciAddress.FindStringSubmatch(word); m != nil {
			words = append(words, m[1])
		} else if m := scsiAddress.FindStringSubmatch(word); m != nil && !ata {
			words = append(words, "scsi:"+m[1]+":"+m[2])
		} else if ataPort.MatchString(word) {
			// The kernel counts the ports of a controller from 1.
			if port, err := readNumber(sys, path.Join("class/ata_port", word, "port_no")); err == nil {
				words, ata = append(words, fmt.Sprintf("ata:%d", port-1)), true
			}
		}
	}
	if nsid, err := readNumber(sys, path.Join("block", name, "nsid")); err == nil && len(words) > 0 {
		words = append(words, fmt.Sprintf("nvme:%d", nsid))
	}
	return strings.Join(words, "/")
}

// isAt says whether a disk's place is the one the firmware names, which may
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
