package erofs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	xattrHeader  = 12                        // name filter, shared count, reserved
	xattrEntry   = 4                         // name length, prefix, value size
	maxXattrBody = xattrHeader + (1<<16-2)*4 // the inode counts words in 16 bits
	maxXattrName = 255                       // Linux's limit on the whole name
	longPrefix   = 0x80                      // name index refers to a prefix table
)

// xattrPrefix is a name prefix that is stored as a number. Whole names
// (POSIX ACLs) store nothing but the number.
type xattrPrefix struct {
	index byte
	name  string
	whole bool
}

func xattrPrefixes() []xattrPrefix {
	return []xattrPrefix{
		{1, "user.", false},
		{2, "system.posix_acl_access", true},
		{3, "system.posix_acl_default", true},
		{4, "trusted.", false},
		{6, "security.", false},
	}
}

// encodeXattrs gives the inline attribute body that follows an inode, nil if
// there are none. Attributes are in byte order of their names.
func encodeXattrs(xattrs map[string]string) ([]byte, error) {
	if len(xattrs) == 0 {
		return nil, nil
	}
	body := make([]byte, xattrHeader)
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		index, rest, err := splitXattrName(name)
		if err != nil {
			return nil, err
		}
		value := xattrs[name]
		if len(value) > 1<<16-1 {
			return nil, fmt.Errorf("xattr %q: value is %d bytes, limit 65535", name, len(value))
		}
		body = append(body, byte(len(rest)), index)
		body = binary.LittleEndian.AppendUint16(body, uint16(len(value)))
		body = append(body, rest...)
		body = append(body, value...)
		body = append(body, make([]byte, -len(body)&3)...)
	}
	if len(body) > maxXattrBody {
		return nil, fmt.Errorf("xattrs: %d bytes in all, limit %d", len(body), maxXattrBody)
	}
	return body, nil
}

func splitXattrName(name string) (index byte, rest string, err error) {
	for _, p := range xattrPrefixes() {
		rest, ok := strings.CutPrefix(name, p.name)
		switch {
		case !ok, p.whole && rest != "":
			continue
		case !p.whole && rest == "":
			return 0, "", fmt.Errorf("xattr %q: name is only a prefix", name)
		case len(name) > maxXattrName:
			return 0, "", fmt.Errorf("xattr %q: name has %d bytes, limit %d",
				name, len(name), maxXattrName)
		}
		return p.index, rest, nil
	}
	return 0, "", fmt.Errorf("xattr %q: the format has no such name prefix", name)
}

// decodeXattrs is the inverse of encodeXattrs. shared reads an attribute that
// is stored once for many files, which encodeXattrs never writes, as an entry.
func decodeXattrs(body []byte, shared func(id uint32) ([]byte, error)) (map[string]string, error) {
	if len(body) < xattrHeader {
		return nil, fmt.Errorf("xattrs: body of %d bytes is shorter than its header", len(body))
	}
	xattrs := map[string]string{}
	count, rest := int(body[4]), body[xattrHeader:]
	if len(rest) < count*4 {
		return nil, fmt.Errorf("xattrs: %d shared attributes in a body of %d bytes", count, len(body))
	}
	for ; count > 0; count-- {
		entry, err := shared(binary.LittleEndian.Uint32(rest))
		if err != nil {
			return nil, err
		}
		if _, err := decodeXattr(xattrs, entry); err != nil {
			return nil, err
		}
		rest = rest[4:]
	}
	for len(rest) >= xattrEntry && string(rest[:xattrEntry]) != "\x00\x00\x00\x00" { // padding
		size, err := decodeXattr(xattrs, rest)
		if err != nil {
			return nil, err
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	if len(xattrs) == 0 {
		return nil, nil
	}
	return xattrs, nil
}

// decodeXattr adds the entry at the start of b and says how long it is.
func decodeXattr(xattrs map[string]string, b []byte) (size int, err error) {
	size = xattrSize(b)
	if size > len(b) {
		return 0, fmt.Errorf("xattrs: entry of %d bytes, %d left", size, len(b))
	}
	nameEnd := xattrEntry + int(b[0])
	name, err := joinXattrName(b[1], string(b[xattrEntry:nameEnd]))
	if err != nil {
		return 0, err
	}
	if _, ok := xattrs[name]; ok {
		return 0, fmt.Errorf("xattr %q: present twice", name)
	}
	xattrs[name] = string(b[nameEnd:size])
	return size, nil
}

// xattrSize is the size of an entry, whose head b holds, without padding.
func xattrSize(b []byte) int {
	return xattrEntry + int(b[0]) + int(binary.LittleEndian.Uint16(b[2:]))
}

func joinXattrName(index byte, rest string) (string, error) {
	if index&longPrefix != 0 {
		return "", fmt.Errorf("xattr %q: long name prefixes are not supported", rest)
	}
	for _, p := range xattrPrefixes() {
		if p.index != index {
			continue
		}
		if p.whole != (rest == "") || len(p.name+rest) > maxXattrName || strings.ContainsRune(rest, 0) {
			return "", fmt.Errorf("xattr %q: bad name for prefix %q", rest, p.name)
		}
		return p.name + rest, nil
	}
	return "", fmt.Errorf("xattr %q: unknown name prefix %d", rest, index)
}
