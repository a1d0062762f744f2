package finish

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// pamProfile is a file of usr/share/pam-configs, as pam-auth-update(8) reads
// it: fields like a Debian control file's; those that hold PAM lines have them
// on the lines that follow, indented.
type pamProfile struct {
	name     string
	priority int
	fields   map[string]string
}

// pamStacks are the common-* files and the profile fields each is made of.
// The templates lie in usr/share/pam and hold the variables $TYPE_primary and
// $TYPE_additional, with the prefix as given here.
var pamStacks = [...]struct {
	file, kind, prefix string
	interactive        bool
}{
	{"common-auth", "Auth", "auth", true},
	{"common-account", "Account", "account", true},
	{"common-password", "Password", "password", true},
	{"common-session", "Session", "session", true},
	{"common-session-noninteractive", "Session", "session_nonint", false},
}

// writePAM writes etc/pam.d/common-* out of the profiles that packages bring
// with "Default: yes". Without them nobody can log in. A tree without PAM is
// left alone.
func (r *run) writePAM() error {
	if r.Tree.Lookup("usr/share/pam") == nil {
		return nil
	}
	var profiles []pamProfile
	for p := range r.Tree.All() {
		if path.Dir(p) != "usr/share/pam-configs" {
			continue
		}
		text, ok, err := r.read(p)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		profile, err := parsePAMProfile(text)
		if err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
		profile.name = path.Base(p)
		if profile.fields["Default"] == "yes" {
			profiles = append(profiles, profile)
		}
	}
	slices.SortStableFunc(profiles, func(a, b pamProfile) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.name, b.name))
	})
	for _, s := range pamStacks {
		template, ok, err := r.read("usr/share/pam/" + s.file)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("/usr/share/pam/%s: no such file", s.file)
		}
		kind := strings.ToLower(s.kind)
		primary := pamBlock(profiles, s.kind, "Primary", s.interactive)
		if len(primary) == 0 {
			// Something must succeed for the lines after the block.
			primary = []string{"[default=1]\tpam_permit.so"}
		}
		additional := pamBlock(profiles, s.kind, "Additional", s.interactive)
		text := strings.NewReplacer(
			"$"+s.prefix+"_primary", pamLines(kind, primary),
			"$"+s.prefix+"_additional", pamLines(kind, additional),
		).Replace(template)
		if err := r.text("etc/pam.d/"+s.file, text); err != nil {
			return err
		}
	}
	return nil
}

// parsePAMProfile reads a profile.
func parsePAMProfile(text string) (pamProfile, error) {
	p := pamProfile{fields: map[string]string{}}
	field := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if field == "" {
				return p, fmt.Errorf("line %q: belongs to no field", line)
			}
			p.fields[field] += strings.TrimSpace(line) + "\n"
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return p, fmt.Errorf("line %q: no colon", line)
			}
			field = name
			p.fields[field] = strings.TrimSpace(value)
		}
	}
	if text, ok := p.fields["Priority"]; ok {
		priority, err := strconv.Atoi(text)
		if err != nil {
			return p, fmt.Errorf("priority %q: not a number", text)
		}
		p.priority = priority
	}
	return p, nil
}

// pamBlock gives the lines of one block, each without its type. The first
// profile of a stack uses its -Initial lines: there is no password yet that it
// could try again. "end" in a control field becomes the number of lines to
// skip so that a success leaves the block, and in a primary block the pam_deny
// line after it too.
func pamBlock(profiles []pamProfile, kind, which string, interactive bool) []string {
	var lines []string
	for _, p := range profiles {
		if p.fields[kind+"-Type"] != which ||
			!interactive && p.fields["Session-Interactive-Only"] == "yes" {
			continue
		}
		text := p.fields[kind]
		if initial, ok := p.fields[kind+"-Initial"]; ok && len(lines) == 0 {
			text = initial
		}
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for i, line := range lines {
		skip := len(lines) - 1 - i
		if which == "Primary" {
			skip++
		}
		if strings.HasPrefix(line, "[") {
			control, rest, _ := strings.Cut(line, "]")
			lines[i] = strings.ReplaceAll(control, "=end", "="+strconv.Itoa(skip)) + "]" + rest
		}
	}
	return lines
}

func pamLines(kind string, lines []string) string {
	for i := range lines {
		lines[i] = kind + "\t" + lines[i]
	}
	return strings.Join(lines, "\n")
}
