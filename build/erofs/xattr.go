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

// decodeXattrs is the inverse of encodeXattrs.
func decodeXattrs(body []byte) (map[string]string, error) {
	if len(body) < xattrHeader {
		return nil, fmt.Errorf("xattrs: body of %d bytes is shorter than its header", len(body))
	}
	if body[4] != 0 {
		return nil, fmt.Errorf("xattrs: %d shared attributes, which are not supported", body[4])
	}
	xattrs := map[string]string{}
	for rest := body[xattrHeader:]; len(rest) >= 4; {
		nameLen, index := int(rest[0]), rest[1]
		valueLen := int(binary.LittleEndian.Uint16(rest[2:]))
		if nameLen == 0 && index == 0 && valueLen == 0 {
			break // padding
		}
		end := 4 + nameLen + valueLen
		if end > len(rest) {
			return nil, fmt.Errorf("xattrs: entry of %d bytes, %d left", end, len(rest))
		}
		name, err := joinXattrName(index, string(rest[4:4+nameLen]))
		if err != nil {
			return nil, err
		}
		if _, ok := xattrs[name]; ok {
			return nil, fmt.Errorf("xattr %q: present twice", name)
		}
		xattrs[name] = string(rest[4+nameLen : end])
		rest = rest[min(len(rest), (end+3)&^3):]
	}
	if len(xattrs) == 0 {
		return nil, nil
	}
	return xattrs, nil
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
