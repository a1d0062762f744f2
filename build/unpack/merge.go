package unpack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/build/resolver"
	"slipway/build/tree"
)

// ConflictError says that two packages hold one path.
type ConflictError struct {
	Path          string // with a leading slash
	First, Second string // origins: "package bash"
}

// Error names both sides.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s and %s conflict on %s", e.First, e.Second, e.Path)
}

// Merge adds the packages to dst. The order in which they are given does not
// matter. Two packages may share
//
//   - a directory: its owner and mode are those of base-files if that has it,
//     else of the package first by name,
//   - a path that is the same in both: type, mode, owner, content or target,
//   - a path of which one has the right of way by its Replaces field
//     (deb-control(5)): then that one's is taken.
//
// Anything else is a ConflictError; all of them are found before anything is
// added, and joined. What dst held before follows the same rules, except that
// nothing replaces it.
func Merge(dst *tree.Tree, packages ...*Package) error {
	packages = slices.Clone(packages)
	slices.SortStableFunc(packages, func(a, b *Package) int {
		if c := cmp.Compare(rank(a), rank(b)); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	})
	m := &merge{dst: dst, owner: map[string]*Package{}, nodes: map[string]*tree.Node{}}
	for _, p := range packages {
		for path, n := range p.Tree.All() {
			m.add(p, path, n)
		}
	}
	if len(m.conflicts) > 0 {
		return errors.Join(m.conflicts...)
	}
	for _, path := range slices.Sorted(maps.Keys(m.nodes)) {
		if err := dst.Set(path, m.nodes[path]); err != nil {
			return err
		}
	}
	return nil
}

func rank(p *Package) int {
	if p.Name == "base-files" {
		return 0
	}
	return 1
}

// merge collects what is to be added.
type merge struct {
	dst       *tree.Tree
	nodes     map[string]*tree.Node
	owner     map[string]*Package // of nodes
	conflicts []error
}

func (m *merge) add(p *Package, path string, n *tree.Node) {
	old := m.nodes[path]
	if old == nil {
		old = m.dst.Lookup(path)
	}
	switch q := m.owner[path]; {
	case old == nil || path == "." && q == nil:
		m.nodes[path], m.owner[path] = n, p
	case same(old, n):
	case q != nil && n.Type != tree.Dir && old.Type != tree.Dir && replaces(p, q) != replaces(q, p):
		if replaces(p, q) {
			m.nodes[path], m.owner[path] = n, p
		}
	default:
		m.conflicts = append(m.conflicts, &ConflictError{"/" + path, old.Origin, n.Origin})
	}
}

// same says whether it makes no difference which of the two is taken, or, for
// directories, that there is a rule.
func same(a, b *tree.Node) bool {
	if a.Type != b.Type {
		return false
	}
	switch a.Type {
	case tree.Dir:
		return true
	case tree.Symlink:
		return a.Target == b.Target
	case tree.File:
		if a.Blob.SHA256() != b.Blob.SHA256() {
			return false
		}
	}
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		a.Major == b.Major && a.Minor == b.Minor && maps.Equal(a.Xattrs, b.Xattrs)
}

// replaces says whether the Replaces field of p names q in its version. A
// field that cannot be read names nobody.
func replaces(p, q *Package) bool {
	groups, err := resolver.ParseRelations(p.Fields["Replaces"], p.Architecture)
	if err != nil {
		return false
	}
	for _, group := range groups {
		for _, relation := range group {
			if relation.Name == q.Name && relation.Matches(q.Version) {
				return true
			}
		}
	}
	return false
}
