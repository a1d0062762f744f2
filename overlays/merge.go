package overlays

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"slipway/signing/payload"
)

// Config is what a stack of layers asks for together.
type Config struct {
	// Layers are the merged layers' names, first to last.
	Layers []string
	// Suites come from the channel first, then from the layers.
	Suites []Suite
	Keys   []Key
	// Packages are the wanted packages in order, each with the layer that
	// asked first.
	Packages []Package
	Prefer   map[string]string
	Remove   []Glob
	Keep     []Glob
	Units    Units
	Users    []User
	Groups   []Group
	// Files are in byte order of their paths.
	Files        []File
	Alternatives map[string]string
	Kernel       Kernel
	OSRelease    map[string]string
	// RollbackFloor is the highest of the layers'; "" if none has one.
	RollbackFloor string
	Scripts       map[string]map[string]Script
	// Digest covers every byte of every layer, their order, and the suites.
	Digest [32]byte
}

// Package is a package asked for by name.
type Package struct {
	Name  string
	Layer string
}

// Glob is a path pattern with the layer it comes from.
type Glob struct {
	Pattern string
	Layer   string
}

// ConflictError says that two layers set the same thing.
type ConflictError struct {
	What   string // "/etc/hosts", `user "core"`
	First  string // layer names
	Second string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("overlays %s and %s conflict on %s", e.First, e.Second, e.What)
}

// Hint is what a user can do about it.
func (e *ConflictError) Hint() string {
	return fmt.Sprintf("give it `replace: true` in overlay %s, or drop one of the two", e.Second)
}

// Merge joins layers in order. Suites and packages add up; of units,
// preferences of os-release and alternatives the later layer's word counts;
// two layers that set the same path, user, id or kernel are a ConflictError
// unless the later one says `replace: true`. All conflicts are returned,
// joined.
func Merge(channel *Channel, layers ...*Layer) (*Config, error) {
	m := merger{
		config: &Config{
			Prefer:       map[string]string{},
			Alternatives: map[string]string{},
			OSRelease:    map[string]string{},
			Scripts:      map[string]map[string]Script{},
		},
		owner: map[string]string{},
	}
	sum := sha256.New()
	if channel != nil {
		m.suites(channel.Archive.Suites)
	}
	for _, l := range layers {
		m.add(l)
		fmt.Fprintf(sum, "layer %q %x\n", l.Name, l.Digest)
	}
	for _, s := range m.config.Suites {
		fmt.Fprintf(sum, "suite %q %q %q\n", s.Archive, s.Suite, s.Components)
	}
	sum.Sum(m.config.Digest[:0])
	slices.SortFunc(m.config.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return m.config, errors.Join(append(m.problems, m.config.Validate())...)
}

// merger carries the state of one Merge.
type merger struct {
	config   *Config
	owner    map[string]string // what -> layer that set it
	problems []error
}

// claim notes that the layer sets what. It reports whether that replaces an
// earlier layer's word; without leave to replace it records a conflict.
func (m *merger) claim(what, layer string, replace bool) (again bool) {
	first, taken := m.owner[what]
	if taken && !replace {
		m.problems = append(m.problems, &ConflictError{what, first, layer})
	}
	m.owner[what] = layer
	return taken
}

func (m *merger) add(l *Layer) {
	c := m.config
	c.Layers = append(c.Layers, l.Name)
	c.Keys = append(c.Keys, l.Keys...)
	m.suites(l.Spec.Archive.Suites)
	for _, name := range l.Spec.Packages {
		if !slices.ContainsFunc(c.Packages, func(p Package) bool { return p.Name == name }) {
			c.Packages = append(c.Packages, Package{name, l.Name})
		}
	}
	for _, g := range l.Spec.Remove {
		c.Remove = append(c.Remove, Glob{g, l.Name})
	}
	for _, g := range l.Spec.Keep {
		c.Keep = append(c.Keep, Glob{g, l.Name})
	}
	maps.Copy(c.Prefer, l.Spec.Prefer)
	maps.Copy(c.Alternatives, l.Spec.Alternatives)
	maps.Copy(c.OSRelease, l.Spec.OSRelease)
	// Validate has seen both.
	if order, err := payload.CompareVersions(l.Spec.RollbackFloor, c.RollbackFloor); err == nil && order > 0 {
		c.RollbackFloor = l.Spec.RollbackFloor
	}
	for pkg, scripts := range l.Scripts {
		c.Scripts[pkg] = scripts
	}
	m.units(&l.Spec.Units)
	m.accounts(l)
	m.omit(l)
	m.files(l)
	m.kernel(l)
}

func (m *merger) suites(suites []Suite) {
	for _, s := range suites {
		same := func(t Suite) bool { return t.Archive == s.Archive && t.Suite == s.Suite }
		i := slices.IndexFunc(m.config.Suites, same)
		if i < 0 {
			s.Components = slices.Clone(s.Components)
			m.config.Suites = append(m.config.Suites, s)
			continue
		}
		for _, component := range s.Components {
			if !slices.Contains(m.config.Suites[i].Components, component) {
				m.config.Suites[i].Components = append(m.config.Suites[i].Components, component)
			}
		}
	}
}

// units takes each unit out of the lists that earlier layers put it in.
func (m *merger) units(u *Units) {
	lists := []*[]string{&m.config.Units.Enable, &m.config.Units.Disable, &m.config.Units.Mask}
	for i, names := range [][]string{u.Enable, u.Disable, u.Mask} {
		for _, name := range names {
			for _, list := range lists {
				*list = slices.DeleteFunc(*list, func(n string) bool { return n == name })
			}
			*lists[i] = append(*lists[i], name)
		}
	}
	if u.Default != "" {
		m.config.Units.Default = u.Default
	}
}

func (m *merger) accounts(l *Layer) {
	for _, u := range l.Spec.Users {
		if m.claim(fmt.Sprintf("user %q", u.Name), l.Name, u.Replace) {
			m.config.Users = slices.DeleteFunc(m.config.Users,
				func(o User) bool { return o.Name == u.Name })
		}
		m.config.Users = append(m.config.Users, u)
	}
	for _, g := range l.Spec.Groups {
		if m.claim(fmt.Sprintf("group %q", g.Name), l.Name, g.Replace) {
			m.config.Groups = slices.DeleteFunc(m.config.Groups,
				func(o Group) bool { return o.Name == g.Name })
		}
		m.config.Groups = append(m.config.Groups, g)
	}
}

// omit takes programs of earlier layers out.
func (m *merger) omit(l *Layer) {
	for _, p := range slices.Sorted(maps.Keys(l.Spec.Programs)) {
		if !l.Spec.Programs[p].Omit {
			continue
		}
		i := slices.IndexFunc(m.config.Files, func(f File) bool { return f.Path == p && f.Program != nil })
		if i < 0 {
			m.problems = append(m.problems,
				fmt.Errorf("%s/overlay.yaml: programs: %q: omit: no earlier layer has it", l.Name, p))
			continue
		}
		m.config.Files = slices.Delete(m.config.Files, i, i+1)
		delete(m.owner, "/"+p)
	}
}

func (m *merger) files(l *Layer) {
	for _, f := range l.Files {
		if m.claim("/"+f.Path, l.Name, f.Replace) {
			m.config.Files = slices.DeleteFunc(m.config.Files,
				func(o File) bool { return o.Path == f.Path })
		}
		m.config.Files = append(m.config.Files, f)
	}
}

func (m *merger) kernel(l *Layer) {
	k := &m.config.Kernel
	if l.Spec.Kernel.Package != "" {
		m.claim("the kernel package", l.Name, l.Spec.Kernel.Replace)
		k.Package = l.Spec.Kernel.Package
	}
	k.Cmdline = append(k.Cmdline, l.Spec.Kernel.Cmdline...)
	for _, name := range l.Spec.Kernel.Modules {
		if !slices.Contains(k.Modules, name) {
			k.Modules = append(k.Modules, name)
		}
	}
}

// Script finds what is known about a package's maintainer script: the entry
// of the package's own name, else the first glob in byte order that matches.
func (c *Config) Script(pkg, script string) (Script, bool) {
	s, ok := c.scriptsOf(pkg)[script]
	return s, ok
}

// KnowsScripts says whether any script of the package is known.
func (c *Config) KnowsScripts(pkg string) bool { return c.scriptsOf(pkg) != nil }

func (c *Config) scriptsOf(pkg string) map[string]Script {
	if scripts, ok := c.Scripts[pkg]; ok {
		return scripts
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Scripts)) {
		if ok, _ := path.Match(pattern, pkg); ok {
			return c.Scripts[pattern]
		}
	}
	return nil
}
