package finish

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// sysuser is a line of sysusers.d(5).
type sysuser struct {
	kind                 byte // u, g or m
	name                 string
	id                   string // of m: the group
	comment, home, shell string
	file                 string // where the line is, for messages
}

// sysusers reads the files of usr/lib/sysusers.d and etc/sysusers.d in the
// order of their names; a file in etc hides one of the same name in usr. Of
// two lines about one account the first counts, as systemd-sysusers has it.
func (r *run) sysusers() ([]sysuser, error) {
	files := map[string]string{}
	for _, dir := range []string{"usr/lib/sysusers.d/", "etc/sysusers.d/"} {
		for p := range r.Tree.All() {
			name, ok := strings.CutPrefix(p, dir)
			if ok && path.Ext(name) == ".conf" && !strings.Contains(name, "/") {
				files[name] = p
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var lines []sysuser
	seen := map[string]bool{}
	for _, name := range names {
		text, ok, err := r.read(files[name])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // a link to /dev/null hides the file
		}
		found, err := parseSysusers(text, "/"+files[name])
		if err != nil {
			return nil, err
		}
		for _, line := range found {
			key := string(line.kind) + line.name
			if line.kind == 'm' {
				key += " " + line.id
			}
			if !seen[key] {
				seen[key] = true
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// parseSysusers reads lines of the form
//
//	u|g|m|r NAME ID GECOS HOME SHELL
//
// with "-" for a field left out and double or single quotes around one with
// spaces. "u!" is a user that is locked altogether, which all of ours are.
// Ranges (r) concern dynamic ids, of which there are none.
func parseSysusers(text, file string) ([]sysuser, error) {
	var lines []sysuser
	number := 0
	for line := range strings.Lines(text) {
		number++
		where := fmt.Sprintf("%s:%d", file, number)
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields, err := splitFields(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if len(fields) > 6 {
			return nil, fmt.Errorf("%s: %d fields, of at most 6", where, len(fields))
		}
		for len(fields) < 6 {
			fields = append(fields, "")
		}
		for i := range fields {
			if fields[i] == "-" && i != 2 {
				fields[i] = ""
			}
		}
		kind := strings.TrimSuffix(fields[0], "!")
		switch kind {
		case "u", "g", "m":
		case "r":
			continue
		default:
			return nil, fmt.Errorf("%s: type %q is none of u, g, m, r", where, fields[0])
		}
		if fields[1] == "" {
			return nil, fmt.Errorf("%s: no name", where)
		}
		for _, f := range fields {
			if strings.ContainsAny(f, "%\n\x00") || strings.Contains(f, ":") && f != fields[2] {
				return nil, fmt.Errorf("%s: field %q holds a colon or a specifier", where, f)
			}
		}
		lines = append(lines, sysuser{
			kind: kind[0], name: fields[1], id: fields[2],
			comment: fields[3], home: fields[4], shell: fields[5], file: where,
		})
	}
	return lines, nil
}

// splitFields splits a line at blanks, honouring quotes.
func splitFields(line string) ([]string, error) {
	var fields []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		quote := line[0]
		if quote != '"' && quote != '\'' {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			fields = append(fields, line[:end])
			line = line[end:]
			continue
		}
		end := strings.IndexByte(line[1:], quote)
		if end < 0 {
			return nil, fmt.Errorf("no closing %c", quote)
		}
		fields = append(fields, line[1:1+end])
		line = line[end+2:]
	}
	return fields, nil
}
