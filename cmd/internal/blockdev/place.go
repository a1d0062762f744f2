package blockdev

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var (
	pciAddress  = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:([0-9a-f]{2}\.[0-7])$`)
	scsiAddress = regexp.MustCompile(`^\d+:\d+:(\d+):(\d+)$`)
	ataPort     = regexp.MustCompile(`^ata\d+$`)
)

// Place says where a disk is attached, as it is found below /sys, whose root is
// given; "" if that cannot be told. It uses words that the kernel and UEFI
// firmware share: the PCI devices on the way to it as "device.function", in hex,
// and on buses with several disks "ata:PORT", "scsi:TARGET:LUN" or
// "nvme:NAMESPACE". So "04.0" is a virtio disk, "1f.2/ata:0" one at an AHCI
// controller. Copies of a disk differ in nothing else.
func Place(sys fs.FS, name string) string {
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
			if port, err := ReadNumber(sys, path.Join("class/ata_port", word, "port_no")); err == nil {
				words, ata = append(words, fmt.Sprintf("ata:%d", port-1)), true
			}
		}
	}
	if nsid, err := ReadNumber(sys, path.Join("block", name, "nsid")); err == nil && len(words) > 0 {
		words = append(words, fmt.Sprintf("nvme:%d", nsid))
	}
	return strings.Join(words, "/")
}

// ReadNumber reads a decimal number that is alone in a file, as in /sys.
func ReadNumber(sys fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
