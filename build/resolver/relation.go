package resolver

import (
	"fmt"
	"strings"
)

// Relation is one package as a relation field names it: "libc6 (>= 2.36)".
type Relation struct {
	Name    string
	Arch    string // what follows a colon: "any", "native" or an architecture
	Op      string // "<<", "<=", "=", ">=", ">>", empty without a version
	Version string
}

// String is the relation as written in control files.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// Matches says whether a version satisfies the relation.
func (r Relation) Matches(version string) bool {
	switch c := Compare(version, r.Version); r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return true
}

// Group is a list of alternatives, of which one is enough.
type Group []Relation

// String is the group as written in control files.
func (g Group) String() string {
	var all []string
	for _, r := range g {
		all = append(all, r.String())
	}
	return strings.Join(all, " | ")
}

// Bounds on a relation field: Debian's longest has some 20 000 characters.
const maxField = 1 << 20

// ParseRelations reads a field such as Depends. Alternatives whose [list of
// architectures] leaves arch out, or whose <build profiles> are not active, are
// dropped, and with its last alternative the whole group.
//
// Syntax: https://www.debian.org/doc/debian-policy/ch-relationships.html
func ParseRelations(field, arch string) ([]Group, error) {
	if len(field) > maxField {
		return nil, fmt.Errorf("relations: longer than %d bytes", maxField)
	}
	var groups []Group
	for part := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(part) == "" {
			continue // a comma at the end is tolerated
		}
		var group Group
		for text := range strings.SplitSeq(part, "|") {
			r, active, err := parseRelation(strings.TrimSpace(text), arch)
			if err != nil {
				return nil, err
			}
			if active {
				group = append(group, r)
			}
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// parseRelation reads "name:arch (op version) [archs] <profiles>".
func parseRelation(text, arch string) (Relation, bool, error) {
	bad := func(why string) (Relation, bool, error) {
		if len(text) > 80 {
			text = text[:80] + "..."
		}
		return Relation{}, false, fmt.Errorf("relation %q: %s", text, why)
	}
	var r Relation
	end := strings.IndexAny(text, " \t(<[")
	if end < 0 {
		end = len(text)
	}
	r.Name, r.Arch, _ = strings.Cut(text[:end], ":")
	if !validName(r.Name) {
		return bad("bad package name")
	}
	active, profiles, profiled := true, false, false
	rest := strings.TrimSpace(text[end:])
	for rest != "" {
		open := rest[0]
		closing, ok := map[byte]byte{'(': ')', '[': ']', '<': '>'}[open]
		if !ok {
			return bad(fmt.Sprintf("unexpected %q", open))
		}
		i := strings.IndexByte(rest[1:], closing)
		if i < 0 {
			return bad("no closing bracket")
		}
		inner := strings.TrimSpace(rest[1 : 1+i])
		rest = strings.TrimSpace(rest[2+i:])
		switch open {
		case '(':
			if r.Op != "" {
				return bad("two versions")
			}
			r.Op, r.Version = cutOperator(inner)
			if r.Op == "" || r.Version == "" || strings.ContainsAny(r.Version, " \t") {
				return bad("bad version")
			}
		case '[':
			active = active && archListed(inner, arch)
		case '<':
			profiled = true
			profiles = profiles || profileActive(inner)
		}
	}
	return r, active && (!profiled || profiles), nil
}

// cutOperator splits ">= 1.2". A lone < or > is the old spelling of <= and >=.
func cutOperator(s string) (op, version string) {
	for _, o := range []string{"<<", "<=", "=", ">=", ">>", "<", ">"} {
		if rest, ok := strings.CutPrefix(s, o); ok {
			if o == "<" || o == ">" {
				o += "="
			}
			return o, strings.TrimSpace(rest)
		}
	}
	return "", ""
}

// validName says whether s is made of the characters of package names. Policy
// wants lower case; virtual packages in the archive are not so strict.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', digit(c), strings.IndexByte("+-._", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// archListed says whether "amd64 arm64" or "!i386" includes arch.
func archListed(list, arch string) bool {
	negated := false
	for word := range strings.FieldsSeq(list) {
		name, not := strings.CutPrefix(word, "!")
		negated = negated || not
		if name == arch || name == "any" || name == "linux-any" {
			return !not
		}
	}
	return negated
}

// profileActive says whether all terms of "!nocheck !cross" hold when no build
// profile is active.
func profileActive(list string) bool {
	for word := range strings.FieldsSeq(list) {
		if !strings.HasPrefix(word, "!") {
			return false
		}
	}
	return true
}
