package overlays

import (
	"fmt"
	"strconv"
	"strings"
)

// Spec is the content of a layer's overlay.yaml.
type Spec struct {
	// Description says in one line what the layer adds to an image.
	Description string `yaml:"description"`
	// Archive adds suites to those the channel names.
	Archive Archive `yaml:"archive"`
	// Packages are the packages the layer asks for by name; the resolver adds
	// what they depend on.
	Packages []string `yaml:"packages"`
	// Prefer maps the name a package depends on (virtual, or the first of
	// several alternatives) to the package that is to satisfy it.
	Prefer map[string]string `yaml:"prefer"`
	// Remove lists globs of paths in the packages' files that stay out of the
	// image. "*" stops at a slash, "**" does not. Overlay files are never
	// removed.
	Remove []string `yaml:"remove"`
	// Keep lists globs of paths that Remove spares.
	Keep []string `yaml:"keep"`
	// Units says which systemd units start by themselves.
	Units Units `yaml:"units"`
	// Users and Groups are accounts with ids fixed for ever: files in ROOT are
	// owned by number and outlive every update.
	Users  []User  `yaml:"users"`
	Groups []Group `yaml:"groups"`
	// Files gives what git cannot keep about paths in the files/ tree (owner,
	// mode) and declares symlinks, directories and short files of its own.
	Files map[string]FileSpec `yaml:"files"`
	// Programs maps a path below usr/ to a Go program that the build compiles
	// for it.
	Programs map[string]ProgramSpec `yaml:"programs"`
	// Alternatives maps a link ("usr/bin/awk") to what it points to
	// ("mawk"), in place of update-alternatives.
	Alternatives map[string]string `yaml:"alternatives"`
	// Kernel says what boots. One layer of an image sets its package.
	Kernel Kernel `yaml:"kernel"`
	// OSRelease adds fields to os-release(5); a later layer's value wins.
	OSRelease map[string]string `yaml:"os-release"`
	// RollbackFloor is the oldest version, MAJOR.MINOR.PATCH, that may replace
	// the image on a machine where the image has proven itself: after a version
	// that mends a hole in the ones before. The highest of all layers counts.
	RollbackFloor string `yaml:"rollback-floor"`
}

// Archive names package sources.
type Archive struct {
	Suites []Suite `yaml:"suites"`
}

// Suite is one suite of a Debian archive. Archive is a path below the mirror's
// root ("debian", "debian-security"), never a host.
type Suite struct {
	Archive    string   `yaml:"archive"`
	Suite      string   `yaml:"suite"`
	Components []string `yaml:"components"`
}

// Units lists systemd units by file name. Within one layer a unit stands in
// one list only; between layers the later one decides.
type Units struct {
	// Enable makes the links that the unit's [Install] section asks for.
	Enable []string `yaml:"enable"`
	// Disable keeps a unit that presets would enable from starting.
	Disable []string `yaml:"disable"`
	// Mask makes the unit impossible to start.
	Mask []string `yaml:"mask"`
	// Default is the unit that default.target points to.
	Default string `yaml:"default"`
}

// User is an account. Its primary group is GID, or the group of the same name
// if GID is left out; that group must be declared or have the user's own id.
type User struct {
	Name    string   `yaml:"name"`
	UID     *uint32  `yaml:"uid"`
	GID     *uint32  `yaml:"gid"`
	Comment string   `yaml:"comment"`
	Home    string   `yaml:"home"`  // default "/"
	Shell   string   `yaml:"shell"` // default /usr/sbin/nologin
	Groups  []string `yaml:"groups"`
	Replace bool     `yaml:"replace"` // of an earlier layer's user
}

// Group is a group. Its members are those listed here and the users that name
// it among their groups; a layer can so add an earlier layer's user.
type Group struct {
	Name    string   `yaml:"name"`
	GID     *uint32  `yaml:"gid"`
	Members []string `yaml:"members"`
	Replace bool     `yaml:"replace"`
}

// FileSpec says what a path is. At most one of Symlink, Directory, Content,
// Copy and Adjust is given; with none of them the path must exist in the
// files/ tree.
type FileSpec struct {
	Mode      Mode    `yaml:"mode"`  // default 0644, 0755 if executable or a directory
	Owner     string  `yaml:"owner"` // name or number, default root
	Group     string  `yaml:"group"` // name or number, default root
	Symlink   string  `yaml:"symlink"`
	Directory bool    `yaml:"directory"`
	Content   *string `yaml:"content"`
	// Copy is a path that a package brings, whose content and mode this path
	// gets too ("usr/share/base-files/profile").
	Copy string `yaml:"copy"`
	// Adjust changes owner, group and mode (those given) of what a package
	// brings at this path.
	Adjust bool `yaml:"adjust"`
	// Replace allows the path to take the place of one that a package or an
	// earlier layer brings.
	Replace bool `yaml:"replace"`
}

// ProgramSpec says which Go program a path is. The build compiles it, static,
// with the Go release that go.mod names, else the one of the project's own.
type ProgramSpec struct {
	// Module is a directory of the layer, outside files/, that holds the
	// go.mod and go.sum of a module of its own. They pin everything the
	// program is made of; sources may lie beside them.
	Module string `yaml:"module"`
	// Package is the import path of the program, in that module or in one it
	// requires.
	Package string `yaml:"package"`
	// Variables sets string variables of the program, by import path and name
	// ("example.org/agent/version.Commit").
	Variables map[string]string `yaml:"variables"`
	// Replace allows the path to take the place of one that a package or an
	// earlier layer brings.
	Replace bool `yaml:"replace"`
	// Omit takes an earlier layer's program out of the image, so that a
	// package can bring the path. Nothing else is given beside it.
	Omit bool `yaml:"omit"`
}

// Kernel says what boots and how.
type Kernel struct {
	// Package is the package that brings (or depends on) the kernel image.
	Package string `yaml:"package"`
	// Cmdline is the kernel's command line; later layers append.
	Cmdline []string `yaml:"cmdline"`
	// Modules are the modules the initramfs holds, besides what they depend
	// on. A name that is built in is no error.
	Modules []string `yaml:"modules"`
	// Replace allows Package to take the place of an earlier layer's.
	Replace bool `yaml:"replace"`
}

// Script says what one maintainer script of a package would have done. The
// build never runs it.
type Script struct {
	// SHA256 lists the digests, in hex, of the script texts that somebody
	// read before writing Does and By.
	SHA256 []string `yaml:"sha256"`
	// Any, if set, says why every text is accepted (one that holds the
	// package's version changes with each version).
	Any string `yaml:"any"`
	// Does is one sentence: what running it would have changed.
	Does string `yaml:"does"`
	// By says who does that now, or "nothing: " and the reason.
	By string `yaml:"by"`
}

// Mode is permission bits with setuid, setgid and sticky, written in octal
// ("0644", "4755").
type Mode uint32

// UnmarshalYAML reads the octal text, quoted or not.
func (m *Mode) UnmarshalYAML(text []byte) error {
	s := strings.Trim(strings.TrimSpace(string(text)), `"'`)
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || v > 0o7777 || v == 0 {
		return fmt.Errorf("mode %q: not an octal mode between 0001 and 7777", s)
	}
	*m = Mode(v)
	return nil
}
