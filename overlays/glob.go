package overlays

import (
	"fmt"
	"regexp"
	"strings"
)

// CompileGlob turns a path glob into a regular expression over clean paths.
// "*" and "?" stop at a slash; "**" as a whole component stands for any number
// of components, none included; [a-z] is a class. A pattern matches the path
// itself and everything below it.
func CompileGlob(pattern string) (*regexp.Regexp, error) {
	if pattern == "" || strings.HasPrefix(pattern, "/") || strings.HasSuffix(pattern, "/") {
		return nil, fmt.Errorf("glob %q: empty, or begins or ends with a slash", pattern)
	}
	var b strings.Builder
	b.WriteString(`^`)
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "**" {
			if last {
				b.WriteString(`.+`)
			} else {
				b.WriteString(`(?:[^/]+/)*`)
			}
			continue
		}
		if strings.Contains(part, "**") {
			return nil, fmt.Errorf("glob %q: ** must stand alone between slashes", pattern)
		}
		if err := globPart(&b, part); err != nil {
			return nil, fmt.Errorf("glob %q: %w", pattern, err)
		}
		if !last {
			b.WriteByte('/')
		}
	}
	b.WriteString(`(?:/.*)?$`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("glob %q: %w", pattern, err)
	}
	return re, nil
}

// globPart writes the expression of one path component.
func globPart(b *strings.Builder, part string) error {
	for i := 0; i < len(part); i++ {
		switch c := part[i]; c {
		case '*':
			b.WriteString(`[^/]*`)
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			end := strings.IndexByte(part[i+1:], ']')
			if end < 1 {
				return fmt.Errorf("[ without ]")
			}
			class := part[i+1 : i+1+end]
			if class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, `\`, `\\`) + "]")
			i += end + 1
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return nil
}
