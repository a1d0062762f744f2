package unit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxName is systemd's bound on the length of a name, in bytes.
const maxName = 256

// validChars are the characters of a name before its type (systemd's
// unit-name.c).
const validChars = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + `:-_.\@`

func types() []string {
	return []string{
		"automount", "busname", "device", "mount", "path", "scope", "service",
		"slice", "snapshot", "socket", "swap", "target", "timer",
	}
}

func templateTypes() []string { return []string{"path", "service", "socket", "target", "timer"} }

// CheckName says what is wrong with the name of a unit.
func CheckName(name string) error {
	if name == "" {
		return errors.New("unit name cannot be empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("unit name exceeds maximum length (%d)", maxName)
	}
	dot := strings.LastIndexByte(name, '.')
	switch {
	case dot < 0:
		return errors.New(`unit name must contain "."`)
	case dot == len(name)-1:
		return errors.New(`unit name cannot end in "."`)
	}
	kind := name[dot+1:]
	if !slices.Contains(types(), kind) {
		return fmt.Errorf("invalid unit type: %q", kind)
	}
	if strings.Contains(name, "@") && !slices.Contains(templateTypes(), kind) {
		return fmt.Errorf("invalid unit type for template: %q", kind)
	}
	for _, r := range name[:dot] {
		if !strings.ContainsRune(validChars, r) {
			return fmt.Errorf("invalid character %q in unit name", r)
		}
	}
	switch {
	case name[0] == '@':
		return errors.New(`unit name cannot start in "@"`)
	case dot == 0:
		return errors.New(`unit name cannot start in "."`)
	}
	return nil
}

// Name is a unit's name taken apart.
type Name struct {
	Full     string // "foo@bar.service"
	Name     string // without the type: "foo@bar"
	Prefix   string // before the "@": "foo"
	Template string // "foo@.service" for templates and instances, else ""
	Instance string // "bar"; "" for a template
}

// SplitName takes a name apart; ok is false for one without a type.
func SplitName(name string) (n Name, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return Name{}, false
	}
	n = Name{Full: name, Name: name[:dot]}
	prefix, instance, found := strings.Cut(n.Name, "@")
	n.Prefix = prefix
	if found {
		n.Template, n.Instance = prefix+"@"+name[dot:], instance
	}
	return n, true
}

// IsInstance says whether the unit was made from a template.
func (n Name) IsInstance() bool { return n.Instance != "" }

// IsTemplate says whether units are made from it, which cannot run itself.
func (n Name) IsTemplate() bool { return n.Template != "" && n.Instance == "" }

// IsTemplate says whether the name is a template's.
func IsTemplate(name string) bool {
	n, ok := SplitName(name)
	return ok && n.IsTemplate()
}

// expand replaces the specifiers that fleet knows.
func (n Name) expand(s string) string {
	return strings.NewReplacer("%n", n.Full, "%N", n.Name, "%p", n.Prefix, "%i", n.Instance).Replace(s)
}

// CompleteName makes a unit's name of what people type: ".service" is added
// where the type is missing.
func CompleteName(name string) string {
	for _, kind := range []string{"service", "socket", "timer", "path", "device", "mount", "automount", "target", "swap"} {
		if strings.HasSuffix(name, "."+kind) {
			return name
		}
	}
	return name + ".service"
}
