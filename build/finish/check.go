package finish

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"slipway/build/tree"
)

// check looks for what the image lacks: shared libraries that its programs are
// linked with, interpreters of its scripts, and kernel modules that others
// need. Removal globs are the usual cause, and are named if they are. A
// problem does not fail the build: a plug-in may well be for a library that
// few install.
//
// The answer for a tree is kept in the step cache.
func (r *run) check() error {
	cache := stepCache{dir: r.CacheDir}
	key := r.checkKey()
	kept, err := cache.load(key)
	if err != nil {
		return err
	}
	if kept != nil {
		if n := kept.Lookup("problems"); n != nil {
			text, err := tree.ReadAll(n.Blob)
			if err != nil {
				return err
			}
			r.result.Problems = strings.Split(strings.TrimSpace(string(text)), "\n")
		}
		return nil
	}
	c := checker{run: r, names: map[string]bool{}, builtin: map[string]bool{}}
	if err := c.collect(); err != nil {
		return err
	}
	slices.Sort(c.problems)
	r.result.Problems = slices.Compact(c.problems)
	answer := tree.New()
	if len(c.problems) > 0 {
		text := strings.Join(r.result.Problems, "\n")
		err := answer.Set("problems", &tree.Node{Type: tree.File, Blob: tree.Bytes([]byte(text))})
		if err != nil {
			return err
		}
	}
	return cache.store(key, answer)
}

// checkKey names everything the answer depends on.
func (r *run) checkKey() string {
	h := sha256.New()
	fmt.Fprintf(h, "check 1 %q\n", r.Config.Remove)
	for p, n := range r.Tree.All() {
		if n.Type == tree.File {
			fmt.Fprintf(h, "%q %x\n", p, n.Blob.SHA256())
		} else {
			fmt.Fprintf(h, "%q %s %q\n", p, n.Type, n.Target)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// checker gathers what exists, then what is needed.
type checker struct {
	*run
	names    map[string]bool // base names of libraries and modules
	builtin  map[string]bool // modules in the kernel image
	problems []string
}

func (c *checker) collect() error {
	for p, n := range c.Tree.All() {
		if n.Type == tree.Dir {
			continue
		}
		c.names[moduleName(path.Base(p))] = true
		if path.Base(p) == "modules.builtin" {
			text, _, err := c.read(p)
			if err != nil {
				return err
			}
			for line := range strings.Lines(text) {
				c.builtin[moduleName(path.Base(strings.TrimSpace(line)))] = true
			}
		}
	}
	for p, n := range c.Tree.All() {
		if n.Type != tree.File || n.Size() < 4 {
			continue
		}
		if err := c.file(p, n); err != nil {
			return fmt.Errorf("read /%s: %w", p, err)
		}
	}
	return nil
}

// moduleName makes one of the two spellings of a kernel module's file name.
func moduleName(name string) string {
	if strings.HasSuffix(name, ".ko") {
		return strings.ReplaceAll(name, "-", "_")
	}
	return name
}

// file checks one regular file, if it is of a kind that needs others.
func (c *checker) file(p string, n *tree.Node) error {
	in, err := n.Blob.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	head := make([]byte, min(256, n.Size()))
	at, ok := in.(io.ReaderAt)
	if ok {
		_, err = at.ReadAt(head, 0)
	} else {
		_, err = io.ReadFull(in, head)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		if n.Mode&0o111 != 0 {
			c.script(p, string(head[2:]))
		}
		return nil
	case !bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return nil
	case !ok:
		data, err := tree.ReadAll(n.Blob)
		if err != nil {
			return err
		}
		at = bytes.NewReader(data)
	}
	c.program(p, at)
	return nil
}

// script checks the interpreter of a script, given what follows "#!".
func (c *checker) script(p, line string) {
	line, _, _ = strings.Cut(line, "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return
	}
	wanted := fields[0]
	if path.Base(wanted) == "env" && len(fields) > 1 {
		wanted = "/usr/bin/" + fields[1]
	}
	full := strings.TrimPrefix(path.Clean(wanted), "/")
	if !strings.HasPrefix(full, "usr/") {
		full = "usr/" + full // bin and its like are links into /usr
	}
	if c.Tree.Lookup(full) == nil {
		c.missing(p, full)
	}
}

// program checks what an ELF file asks for. One that does not parse is
// somebody else's concern.
func (c *checker) program(p string, at io.ReaderAt) {
	f, err := elf.NewFile(at)
	if err != nil || f.Machine != elf.EM_X86_64 {
		return
	}
	if strings.HasSuffix(p, ".ko") {
		section := f.Section(".modinfo")
		if section == nil {
			return
		}
		info, err := section.Data()
		if err != nil {
			return
		}
		for field := range strings.SplitSeq(string(info), "\x00") {
			names, ok := strings.CutPrefix(field, "depends=")
			for name := range strings.SplitSeq(names, ",") {
				wanted := moduleName(name + ".ko")
				if ok && name != "" && !c.names[wanted] && !c.builtin[wanted] {
					c.missing(p, wanted)
				}
			}
		}
		return
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return
	}
	for _, name := range libraries {
		if !c.names[path.Base(name)] {
			c.missing(p, name)
		}
	}
}

// missing notes that p needs something, and which glob took it if one did.
func (c *checker) missing(p, wanted string) {
	problem := fmt.Sprintf("/%s needs %s, which nothing brings", p, wanted)
	for _, gone := range slices.Sorted(maps.Keys(c.removed)) {
		if gone == wanted || moduleName(path.Base(gone)) == wanted {
			glob := c.removed[gone]
			problem = fmt.Sprintf("/%s needs %s, which overlay %s removes with %q",
				p, wanted, glob.Layer, glob.Pattern)
			break
		}
	}
	c.problems = append(c.problems, problem)
}
