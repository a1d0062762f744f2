package resolver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"slipway/build/archive"
)

// node is a candidate with its relations read.
type node struct {
	pkg       *archive.Package
	arch      string // "all" counts as the architecture resolved for
	depends   []dependency
	conflicts []conflict
	provides  []Relation // Op is "=" or empty
}

type dependency struct {
	field string // "Pre-Depends" or "Depends"
	group Group
}

type conflict struct {
	field    string // "Conflicts" or "Breaks"
	relation Relation
}

// universe answers which packages could be taken, and remembers it.
type universe struct {
	indexes  []Index
	arch     string
	prefer   map[string]string
	exclude  map[string]bool
	nodes    map[string]*node
	virtuals map[string][]*node
	err      error // the first damaged index or field
}

func newUniverse(r *Request) *universe {
	u := &universe{
		indexes: r.Indexes, arch: r.Architecture,
		prefer: r.Prefer, exclude: map[string]bool{},
		nodes: map[string]*node{}, virtuals: map[string][]*node{},
	}
	if u.arch == "" {
		u.arch = "amd64"
	}
	for _, name := range r.Exclude {
		u.exclude[name] = true
	}
	return u
}

// fail keeps the first error; the search then runs dry.
func (u *universe) fail(err error) {
	if u.err == nil {
		u.err = err
	}
}

// candidate is the highest version of a package, nil if there is none.
func (u *universe) candidate(name string) *node {
	if n, ok := u.nodes[name]; ok {
		return n
	}
	var best *archive.Package
	for _, p := range u.versions(name) {
		if best == nil || newer(p, best) {
			best = p
		}
	}
	var n *node
	if best != nil && !u.exclude[name] {
		n = u.read(best)
	}
	u.nodes[name] = n
	return n
}

// versions lists every version of a package that fits the architecture.
func (u *universe) versions(name string) []*archive.Package {
	var all []*archive.Package
	for _, x := range u.indexes {
		packages, err := x.Named(name)
		if err != nil {
			u.fail(err)
		}
		for _, p := range packages {
			if p.Architecture == u.arch || p.Architecture == "all" {
				all = append(all, p)
			}
		}
	}
	return all
}

// newer orders versions; the same version in two suites is told apart by where
// it is, so that the order of the indexes does not matter.
func newer(a, b *archive.Package) bool {
	if c := Compare(a.Version, b.Version); c != 0 {
		return c > 0
	}
	return cmp.Or(
		strings.Compare(a.Archive, b.Archive), strings.Compare(a.Suite, b.Suite),
		strings.Compare(a.Component, b.Component), strings.Compare(a.Path, b.Path),
		strings.Compare(a.Version, b.Version)) < 0
}

// read parses a package's relation fields.
func (u *universe) read(p *archive.Package) *node {
	n := &node{pkg: p, arch: u.arch}
	parse := func(field, text string) []Group {
		groups, err := ParseRelations(text, u.arch)
		if err != nil {
			u.fail(fmt.Errorf("package %q: %s: %w", p.Name, field, err))
		}
		return groups
	}
	for _, f := range [...]struct{ name, text string }{{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}} {
		for _, g := range parse(f.name, f.text) {
			n.depends = append(n.depends, dependency{f.name, g})
		}
	}
	for _, f := range [...]struct{ name, text string }{{"Conflicts", p.Conflicts}, {"Breaks", p.Breaks}} {
		for _, g := range parse(f.name, f.text) {
			n.conflicts = append(n.conflicts, conflict{f.name, g[0]})
		}
	}
	for _, g := range parse("Provides", p.Provides) {
		n.provides = append(n.provides, g[0])
	}
	return n
}

// providers lists the candidates that provide a virtual package, the likeliest
// first: by priority, then by name.
func (u *universe) providers(name string) []*node {
	if all, ok := u.virtuals[name]; ok {
		return all
	}
	var all []*node
	for _, x := range u.indexes {
		packages, err := x.Providing(name)
		if err != nil {
			u.fail(err)
		}
		for _, p := range packages {
			if n := u.candidate(p.Name); n != nil && n.pkg == p {
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, func(a, b *node) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.pkg.Name, b.pkg.Name))
	})
	all = slices.Compact(all)
	u.virtuals[name] = all
	return all
}

// rank orders priorities; unknown ones are last.
func rank(n *node) int {
	order := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(order, n.pkg.Priority); i >= 0 {
		return i
	}
	return len(order)
}

// satisfies says whether a package fulfils a dependency, by itself or by what it
// provides. Another architecture's package would have to allow that, and ":any"
// asks for one that does.
func (n *node) satisfies(r Relation) bool {
	return n.matches(r) && (r.Arch != "any" || n.pkg.MultiArch == "allowed")
}

// matches says whether a relation is about a package, by its name or one that it
// provides. What is provided without a version has none.
func (n *node) matches(r Relation) bool {
	if r.Arch != "" && r.Arch != "any" && r.Arch != "native" && r.Arch != n.arch {
		return false
	}
	if n.pkg.Name == r.Name && r.Matches(n.pkg.Version) {
		return true
	}
	for _, p := range n.provides {
		if p.Name == r.Name && (r.Op == "" || p.Op != "" && r.Matches(p.Version)) {
			return true
		}
	}
	return false
}

// candidates lists what could fulfil a group: in the order of the alternatives,
// each real package before the providers of its name, preferred ones first.
func (u *universe) candidates(g Group) []*node {
	var all []*node
	add := func(n *node, r Relation) {
		if n != nil && n.satisfies(r) && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, r := range g {
		add(u.candidate(r.Name), r)
		for _, n := range u.providers(r.Name) {
			add(n, r)
		}
	}
	liked := func(n *node) bool {
		return slices.ContainsFunc(g, func(r Relation) bool { return u.prefer[r.Name] == n.pkg.Name })
	}
	slices.SortStableFunc(all, func(a, b *node) int {
		switch likedA, likedB := liked(a), liked(b); {
		case likedA == likedB:
			return 0
		case likedA:
			return -1
		}
		return 1
	})
	return all
}
