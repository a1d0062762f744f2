package lock

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"slipway/build/resolver"
)

// Change is one difference between two locks.
type Change struct {
	Name     string
	Old, New *Package // nil where the lock does not have it
}

// String says what changed, in a line.
func (c Change) String() string {
	switch {
	case c.Old == nil:
		return fmt.Sprintf("added %s %s (%s)", c.Name, c.New.Version, c.New.Why)
	case c.New == nil:
		return fmt.Sprintf("removed %s %s", c.Name, c.Old.Version)
	}
	verb := "changed"
	switch d := resolver.Compare(c.New.Version, c.Old.Version); {
	case d > 0:
		verb = "upgraded"
	case d < 0:
		verb = "downgraded"
	case c.New.SHA256 == c.Old.SHA256:
		return fmt.Sprintf("changed %s %s: %s", c.Name, c.New.Version, c.details())
	default:
		return fmt.Sprintf("changed %s %s: sha256 %s -> %s", c.Name, c.New.Version, c.Old.SHA256, c.New.SHA256)
	}
	return fmt.Sprintf("%s %s %s -> %s", verb, c.Name, c.Old.Version, c.New.Version)
}

// details names the fields that differ besides version and digest.
func (c Change) details() string {
	var all []string
	add := func(field, old, new string) {
		if old != new {
			all = append(all, fmt.Sprintf("%s %q -> %q", field, old, new))
		}
	}
	add("archive", c.Old.Archive, c.New.Archive)
	add("path", c.Old.Path, c.New.Path)
	add("architecture", c.Old.Architecture, c.New.Architecture)
	return strings.Join(all, ", ")
}

// Compare lists the packages that differ, by name. Reasons, script digests and
// the suites' states do not count: they change no byte of an image.
func Compare(old, new *Lock) []Change {
	changes := map[string]*Change{}
	for i := range old.Packages {
		p := &old.Packages[i]
		changes[p.Name] = &Change{Name: p.Name, Old: p}
	}
	for i := range new.Packages {
		p := &new.Packages[i]
		c := changes[p.Name]
		if c == nil {
			c = &Change{Name: p.Name}
			changes[p.Name] = c
		}
		c.New = p
	}
	var all []Change
	for _, c := range changes {
		if c.Old == nil || c.New == nil || c.Old.Version != c.New.Version ||
			c.Old.SHA256 != c.New.SHA256 || c.details() != "" {
			all = append(all, *c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
