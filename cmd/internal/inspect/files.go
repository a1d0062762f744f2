package inspect

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"slipway/build/tree"
)

// maxLinks bounds how many symlinks a path may lead through, as in Linux.
const maxLinks = 40

// Find resolves a path as a booted machine would see it: /usr is the slot,
// /etc its factory copy, /bin and the like lead into /usr. Symlinks are
// followed. It gives the path below /usr and the node.
func Find(usr *tree.Tree, name string) (string, *tree.Node, error) {
	p, err := tree.Clean(name)
	if err != nil {
		return "", nil, err
	}
	left := strings.Split(p, "/")
	at := "." // as a machine sees it
	for links := 0; len(left) > 0; {
		part := left[0]
		left = left[1:]
		switch part {
		case ".", "":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		if merged(next) {
			next = "usr/" + next
		}
		n := usr.Lookup(inSlot(next))
		if next != "usr" && n == nil {
			return "", nil, fmt.Errorf("/%s: not in the slot", next)
		}
		if n == nil || n.Type != tree.Symlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("%s: too many symlinks", name)
		}
		if strings.HasPrefix(n.Target, "/") {
			at = "."
		}
		left = append(strings.Split(n.Target, "/"), left...)
	}
	if at == "." {
		at = "usr"
	}
	return inSlot(at), usr.Lookup(inSlot(at)), nil
}

func merged(p string) bool {
	return slices.Contains([]string{"bin", "sbin", "lib", "lib64"}, p)
}

// inSlot maps a machine's path to one in the slot's file system.
func inSlot(p string) string {
	if rest, ok := strings.CutPrefix(p+"/", "usr/"); ok {
		return path.Clean(rest)
	}
	return path.Join("share/slipway", p)
}

// List writes the entries of a directory, one a line, as "ls -l" does.
func List(w io.Writer, usr *tree.Tree, dir string) error {
	for p, n := range usr.All() {
		if p == "." || path.Dir(p) != dir {
			continue
		}
		name := path.Base(p)
		if n.Type == tree.Symlink {
			name += " -> " + n.Target
		}
		_, err := fmt.Fprintf(w, "%s %5d %5d %10d %s %s\n", ModeString(n), n.UID, n.GID, n.Size(),
			time.Unix(n.MTime, 0).UTC().Format(time.DateTime), name)
		if err != nil {
			return err
		}
	}
	return nil
}

// ModeString shows type and permissions as "ls -l" does.
func ModeString(n *tree.Node) string {
	bits := []byte(fs.FileMode(n.Mode & 0o777).String())
	bits[0] = "d-lcbp"[n.Type]
	special := func(bit uint32, at int, set, unset byte) {
		if n.Mode&bit == 0 {
			return
		}
		if bits[at] == 'x' {
			bits[at] = set
		} else {
			bits[at] = unset
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	return string(bits)
}
