// Package resolver picks the packages that a list of packages needs, out of the
// indexes of an archive: Pre-Depends and Depends with versions, alternatives and
// virtual packages, never Recommends. Of each name only the highest version is
// a candidate, as in apt. Conflicts and Breaks of everything picked hold.
//
// Packages marked Essential are not added by themselves: an image may do
// without. Nothing is known of installed packages, so there are no upgrades
// and removals here.
//
// The result depends on the set of inputs only, never on their order.
package resolver

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"slipway/build/archive"
)

// Index is where packages are looked up; *archive.Index is one. Named and
// Providing return nil for a name they do not know.
type Index interface {
	Named(name string) ([]*archive.Package, error)
	Providing(name string) ([]*archive.Package, error)
	Names() iter.Seq[string]
}

// Want is a package that an overlay asks for.
type Want struct {
	Package string // a name, or a name with a version: "etcd-server (>= 3.5)"
	Why     string // who asks: "overlay base"
}

// Request says what to resolve.
type Request struct {
	Indexes      []Index
	Packages     []Want
	Architecture string // "amd64" if empty; packages for it and for "all" count
	// Prefer maps a name that packages depend on, a virtual one or one of
	// several alternatives, to the package that is to satisfy it. A package
	// that is needed anyhow and satisfies it, too, still makes it unnecessary.
	Prefer map[string]string
	// Exclude names packages that must not be taken.
	Exclude []string
}

// Selected is a package of the result.
type Selected struct {
	*archive.Package
	Why string // "overlay base" or "bash: Pre-Depends libc6 (>= 2.38)"
}

// Result is what a request needs.
type Result struct {
	Packages []Selected // by name
}

// Resolve picks packages. If it cannot, the error is an *UnsatisfiableError or a
// *ConflictError, unless an index is damaged.
func Resolve(r *Request) (*Result, error) {
	u := newUniverse(r)
	wants := slices.SortedFunc(slices.Values(r.Packages), func(a, b Want) int {
		return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(a.Why, b.Why))
	})
	var needs []*need
	for _, w := range wants {
		groups, err := ParseRelations(w.Package, u.arch)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Why, err)
		}
		for _, group := range groups {
			needs = append(needs, &need{why: w.Why, group: group})
		}
	}
	s := newState(u)
	s, problem := s.solve(needs)
	if u.err != nil {
		return nil, u.err
	}
	if problem != nil {
		return nil, problem
	}
	result := &Result{}
	for _, name := range sortedKeys(s.chosen) {
		c := s.chosen[name]
		result.Packages = append(result.Packages, Selected{Package: c.node.pkg, Why: c.need.String()})
	}
	return result, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
