package fat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// names hands out the 8.3 names of one directory.
type names struct {
	short map[[11]byte]bool
	long  map[string]string // upper case to the name as given
}

func newNames() *names {
	return &names{map[[11]byte]bool{}, map[string]string{}}
}

// checkName says why a name cannot be a long name.
func checkName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	if n := len(utf16.Encode([]rune(name))); n > maxNameUnits {
		return fmt.Errorf("name %q has %d UTF-16 units, limit %d", name, n, maxNameUnits)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7F || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("name %q holds %q, which FAT forbids", name, r)
		}
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " ") {
		return fmt.Errorf("name %q starts or ends with what FAT drops", name)
	}
	return nil
}

// claim takes a name into the directory and gives its short name, and whether
// it needs a long one too. Names must be claimed in a fixed order.
func (d *names) claim(name string) (short [11]byte, long bool, err error) {
	if err := checkName(name); err != nil {
		return short, false, err
	}
	folded := strings.ToUpper(name)
	if other, ok := d.long[folded]; ok {
		return short, false, fmt.Errorf("names %q and %q are the same on FAT", other, name)
	}
	base, ext, lossy := splitShort(name)
	short = packShort(base, ext)
	if lossy || d.short[short] {
		short, err = d.numbered(base, ext)
		if err != nil {
			return short, false, fmt.Errorf("name %q: %w", name, err)
		}
	}
	d.long[folded], d.short[short] = name, true
	return short, lossy || name != unpackShort(short), nil
}

// numbered finds a free BASE~N.EXT.
func (d *names) numbered(base, ext string) ([11]byte, error) {
	for n := 1; n < 1_000_000; n++ {
		tail := "~" + strconv.Itoa(n)
		short := packShort(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !d.short[short] {
			return short, nil
		}
	}
	return [11]byte{}, fmt.Errorf("no short name is free")
}

// splitShort makes an 8.3 name. It is lossy if the long name cannot be
// recognised in it but for upper and lower case.
func splitShort(name string) (base, ext string, lossy bool) {
	trimmed := strings.TrimLeft(name, ".")
	stem, suffix := trimmed, ""
	if dot := strings.LastIndexByte(trimmed, '.'); dot >= 0 {
		stem, suffix = trimmed[:dot], trimmed[dot+1:]
	}
	base, lossyBase := shortChars(stem, 8)
	ext, lossyExt := shortChars(suffix, 3)
	return base, ext, lossyBase || lossyExt || trimmed != name
}

func shortChars(s string, limit int) (short string, lossy bool) {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '.':
			lossy = true
		case r > 0x7F || strings.ContainsRune("+,;=[]", r):
			b.WriteByte('_')
			lossy = true
		default:
			b.WriteByte(byte(r))
		}
	}
	short = b.String()
	if len(short) > limit {
		return short[:limit], true
	}
	return short, lossy
}

func packShort(base, ext string) (short [11]byte) {
	copy(short[:], "           ")
	copy(short[:8], base)
	copy(short[8:], ext)
	return short
}

func unpackShort(short [11]byte) string {
	base := strings.TrimRight(string(short[:8]), " ")
	ext := strings.TrimRight(string(short[8:]), " ")
	if ext != "" {
		return base + "." + ext
	}
	return base
}
