package finish

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"slipway/build/tree"
)

// tmpfilesFile makes at boot what packages ship outside /usr and /etc, and
// FactoryDir holds the contents of regular files among it (tmpfiles.d(5)).
const (
	tmpfilesFile = "usr/lib/tmpfiles.d/slipway.conf"
	factoryDir   = "usr/share/factory"
)

// atBoot are the top-level directories that the boot makes or mounts; what
// packages ship below some of them still needs a line.
var atBoot = [...]string{
	"bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt",
	"oem", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
}

// writeTmpfiles writes the lines for every path outside /usr and /etc that no
// line of a package or overlay is about, and takes the paths out of the tree.
// Packages' owners are kept by number.
func (r *run) writeTmpfiles() error {
	known, err := r.tmpfilesPaths()
	if err != nil {
		return err
	}
	lines := r.tmpfiles
	for p, n := range r.Tree.All() {
		top, _, below := strings.Cut(p, "/")
		switch {
		case p == "." || top == "usr" || top == "etc":
			continue
		case !below && slices.Contains(atBoot[:], p):
			continue
		case top == "dev" || top == "proc" || top == "sys" || top == "boot" || known["/"+p]:
			continue
		}
		line, err := r.tmpfilesLine(p, n)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	var outside []string
	for p := range r.Tree.All() {
		if !strings.Contains(p, "/") && p != "." && p != "usr" && p != "etc" {
			outside = append(outside, p)
		}
	}
	for _, p := range outside {
		r.Tree.Remove(p)
	}
	if len(lines) == 0 {
		return nil
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1])
	})
	return r.text(tmpfilesFile, "# What packages ship outside /usr and /etc.\n"+
		strings.Join(lines, "\n")+"\n")
}

// tmpfilesLine gives the line that makes a path, and for a file puts its
// content into the factory directory.
func (r *run) tmpfilesLine(p string, n *tree.Node) (string, error) {
	name := tmpfilesEscape("/" + p)
	switch n.Type {
	case tree.Dir:
		return fmt.Sprintf("d %s %04o %d %d -", name, n.Mode, n.UID, n.GID), nil
	case tree.Symlink:
		return fmt.Sprintf("L %s - - - - %s", name, tmpfilesEscape(n.Target)), nil
	case tree.File:
		factory := factoryDir + "/" + p
		if err := r.Tree.Set(factory, n); err != nil {
			return "", err
		}
		return fmt.Sprintf("C %s %04o %d %d - %s", name, n.Mode, n.UID, n.GID,
			tmpfilesEscape("/"+factory)), nil
	default:
		return "", fmt.Errorf("/%s of %s: a %s outside /usr and /etc", p, n.Origin, n.Type)
	}
}

// tmpfilesPaths gives the paths that tmpfiles.d lines in the tree are about.
func (r *run) tmpfilesPaths() (map[string]bool, error) {
	known := map[string]bool{}
	for p := range r.Tree.All() {
		dir := path.Dir(p)
		if dir != "usr/lib/tmpfiles.d" && dir != "etc/tmpfiles.d" || path.Ext(p) != ".conf" {
			continue
		}
		text, _, err := r.read(p)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			fields, err := splitFields(strings.TrimSpace(line))
			if err == nil && len(fields) > 1 && strings.ContainsAny(fields[0][:1], "dDqQvfFLCpw") {
				known[path.Clean(fields[1])] = true
			}
		}
	}
	return known, nil
}

// tmpfilesEscape quotes specifiers and blanks.
func tmpfilesEscape(s string) string {
	return strings.NewReplacer("%", "%%", " ", `\x20`, "\t", `\x09`).Replace(s)
}
