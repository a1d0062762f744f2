package lock

import (
	"cmp"
	"fmt"
	"slices"
)

// ProgramChange is one difference between the programs of two locks.
type ProgramChange struct {
	Path     string
	Old, New *Program // nil where the lock does not have it
}

// String says what changed, in a line.
func (c ProgramChange) String() string {
	switch {
	case c.Old == nil:
		return fmt.Sprintf("added %s (%s)", c.New, c.New.Why)
	case c.New == nil:
		return fmt.Sprintf("removed %s", c.Old)
	case c.Old.Package != c.New.Package:
		return fmt.Sprintf("changed %s: package %s -> %s", c.Old, c.Old.Package, c.New.Package)
	case c.Old.Version != c.New.Version:
		return fmt.Sprintf("changed %s -> %s", c.Old, cmp.Or(c.New.Version, "the layer's own"))
	}
	return fmt.Sprintf("changed %s: sources %s -> %s", c.New, c.Old.Sources, c.New.Sources)
}

// String is the program's path and version.
func (p *Program) String() string {
	if p.Version == "" {
		return "/" + p.Path
	}
	return "/" + p.Path + " " + p.Version
}

// ComparePrograms lists the programs that differ, by path. Reasons do not
// count.
func ComparePrograms(old, new []Program) []ProgramChange {
	changes := map[string]*ProgramChange{}
	for i := range old {
		changes[old[i].Path] = &ProgramChange{Path: old[i].Path, Old: &old[i]}
	}
	for i := range new {
		c := changes[new[i].Path]
		if c == nil {
			c = &ProgramChange{Path: new[i].Path}
			changes[c.Path] = c
		}
		c.New = &new[i]
	}
	var all []ProgramChange
	for _, c := range changes {
		if c.Old == nil || c.New == nil || c.Old.Package != c.New.Package ||
			c.Old.Version != c.New.Version || c.Old.Sources != c.New.Sources {
			all = append(all, *c)
		}
	}
	slices.SortFunc(all, func(a, b ProgramChange) int { return cmp.Compare(a.Path, b.Path) })
	return all
}
