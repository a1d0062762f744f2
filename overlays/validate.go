package overlays

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"slipway/build/tree"
	"slipway/signing/payload"
)

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)        // Debian policy 5.6.1
	accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)      // systemd's strict rule
	unitName    = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.[a-z]+$`) // systemd.unit(5)
	digestHex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	releaseKey  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`) // os-release(5)
)

// Validate checks everything that can be said of the layer alone and returns
// all problems joined, each beginning with the layer's file.
func (l *Layer) Validate() error {
	v := validator{prefix: l.Name + "/overlay.yaml: "}
	s := &l.Spec
	v.suites(s.Archive.Suites)
	for _, name := range s.Packages {
		v.check(packageName.MatchString(name), "packages: %q is not a package name", name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Prefer)) {
		v.check(packageName.MatchString(name), "prefer: %q is not a package name", name)
		v.check(packageName.MatchString(s.Prefer[name]),
			"prefer: %q is not a package name", s.Prefer[name])
	}
	for _, g := range append(slices.Clone(s.Remove), s.Keep...) {
		if _, err := CompileGlob(g); err != nil {
			v.add(err)
		}
	}
	v.units(&s.Units)
	v.accounts(s.Users, s.Groups)
	for _, f := range l.Files {
		v.path("files", f.Path)
	}
	for _, link := range slices.Sorted(maps.Keys(s.Alternatives)) {
		v.path("alternatives", link)
	}
	for _, key := range slices.Sorted(maps.Keys(s.OSRelease)) {
		v.check(releaseKey.MatchString(key), "os-release: %q is not a field name", key)
		v.check(!strings.ContainsAny(s.OSRelease[key], "\n\x00"),
			"os-release: %s holds a line break", key)
	}
	_, err := payload.CompareVersions(s.RollbackFloor, s.RollbackFloor)
	v.check(err == nil, "rollback-floor: %q is not MAJOR.MINOR.PATCH", s.RollbackFloor)
	for _, arg := range s.Kernel.Cmdline {
		v.check(arg != "" && !strings.ContainsAny(arg, "\n\x00"),
			"kernel: argument %q is empty or holds a line break", arg)
	}
	v.prefix = l.Name + "/scripts.yaml: "
	v.scripts(l.Scripts)
	return errors.Join(v.problems...)
}

// Validate checks what only the merged whole shows: ids used twice, groups
// nobody declared, paths below something that is no directory.
func (c *Config) Validate() error {
	v := validator{prefix: "overlays " + strings.Join(c.Layers, ", ") + ": "}
	uids, gids := map[uint32]string{}, map[uint32]string{}
	for _, u := range c.Users {
		if u.UID == nil {
			continue
		}
		other, taken := uids[*u.UID]
		v.check(!taken, "users %q and %q both have uid %d", other, u.Name, *u.UID)
		uids[*u.UID] = u.Name
	}
	for _, g := range c.Groups {
		if g.GID == nil {
			continue
		}
		other, taken := gids[*g.GID]
		v.check(!taken, "groups %q and %q both have gid %d", other, g.Name, *g.GID)
		gids[*g.GID] = g.Name
	}
	kinds := map[string]File{}
	for _, f := range c.Files {
		kinds[f.Path] = f
	}
	for _, f := range c.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			above, ok := kinds[dir]
			if ok && above.Type != tree.Dir && !above.Adjust {
				v.add(fmt.Errorf("/%s of %s lies below /%s, a %s of %s",
					f.Path, f.Layer, dir, above.Type, above.Layer))
			}
		}
	}
	return errors.Join(v.problems...)
}

func (c *Channel) validate(file string) error {
	v := validator{prefix: file + ": "}
	v.check(len(c.Layers) > 0, "layers: empty")
	for i, name := range c.Layers {
		v.check(!slices.Contains(c.Layers[:i], name), "layers: %q twice", name)
	}
	v.suites(c.Archive.Suites)
	return errors.Join(v.problems...)
}

// validator collects problems.
type validator struct {
	prefix   string
	problems []error
}

func (v *validator) add(err error) {
	v.problems = append(v.problems, fmt.Errorf("%s%w", v.prefix, err))
}

func (v *validator) check(ok bool, format string, args ...any) {
	if !ok {
		v.add(fmt.Errorf(format, args...))
	}
}

func (v *validator) suites(suites []Suite) {
	for _, s := range suites {
		v.check(s.Archive != "" && !strings.Contains(s.Archive, ":"),
			"archive: %q is not a path below the mirror", s.Archive)
		v.check(s.Suite != "", "archive: suite of %q is empty", s.Archive)
		v.check(len(s.Components) > 0, "archive: suite %q names no components", s.Suite)
	}
}

func (v *validator) units(u *Units) {
	seen := map[string]string{}
	for _, list := range []struct {
		name  string
		units []string
	}{{"enable", u.Enable}, {"disable", u.Disable}, {"mask", u.Mask}} {
		for _, name := range list.units {
			v.check(unitName.MatchString(name), "units: %q is not a unit name", name)
			other, twice := seen[name]
			v.check(!twice, "units: %q in both %s and %s", name, other, list.name)
			seen[name] = list.name
		}
	}
}

func (v *validator) accounts(users []User, groups []Group) {
	for _, u := range users {
		v.check(accountName.MatchString(u.Name), "users: %q is not a user name", u.Name)
		v.check(u.UID != nil, "users: %q has no uid; ids are fixed for ever", u.Name)
		v.check(!strings.ContainsAny(u.Comment+u.Home+u.Shell, ":\n"),
			"users: %q has a colon or line break in comment, home or shell", u.Name)
	}
	for _, g := range groups {
		v.check(accountName.MatchString(g.Name), "groups: %q is not a group name", g.Name)
		v.check(g.GID != nil, "groups: %q has no gid; ids are fixed for ever", g.Name)
	}
}

// path checks a path of the image: clean, relative to the root, and not
// through one of the links of the merged /usr.
func (v *validator) path(what, p string) {
	clean, err := tree.Clean(p)
	switch {
	case err != nil:
		v.add(fmt.Errorf("%s: %w", what, err))
		return
	case clean != p || p == ".":
		v.add(fmt.Errorf("%s: %q is not a clean path without leading slash", what, p))
		return
	}
	top, _, _ := strings.Cut(p, "/")
	if slices.Contains([]string{"bin", "sbin", "lib", "lib64", "lib32"}, top) {
		v.add(fmt.Errorf("%s: %q goes through a link of the merged /usr; write %q",
			what, p, "usr/"+p))
	}
}

func (v *validator) scripts(packages map[string]map[string]Script) {
	known := []string{"preinst", "postinst", "prerm", "postrm", "config"}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		for _, name := range slices.Sorted(maps.Keys(packages[pkg])) {
			s := packages[pkg][name]
			where := pkg + " " + name
			v.check(slices.Contains(known, name), "%s: not a maintainer script", where)
			v.check(len(s.SHA256) > 0 || s.Any != "", "%s: no sha256", where)
			for _, sum := range s.SHA256 {
				v.check(digestHex.MatchString(sum), "%s: sha256 %q is not 64 hex digits", where, sum)
			}
			v.check(s.Does != "", "%s: does: empty", where)
			v.check(s.By != "", "%s: by: empty", where)
		}
	}
}
