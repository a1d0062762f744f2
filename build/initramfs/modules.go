package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	maxIndexLine = 64 << 10 // bytes in a line of an index file
	maxModules   = 100_000  // modules in an index
	maxWanted    = 10_000   // modules Order returns
	maxReadBytes = 64 << 20 // bytes in an index file
)

// ModuleIndex knows the modules of one kernel and what each needs loaded
// before it. Names are modules' names as modprobe takes them; "-" and "_" are
// the same.
type ModuleIndex struct {
	path    map[string]string   // name: "kernel/fs/erofs/erofs.ko"
	needs   map[string][]string // name: names, as modules.dep orders them
	soft    map[string][]string // name: names to load before, if they exist
	builtin map[string]bool
}

// IndexFiles are the texts depmod writes below /lib/modules/RELEASE. SoftDep
// may be nil.
type IndexFiles struct {
	Dep     io.Reader // modules.dep
	SoftDep io.Reader // modules.softdep
	Builtin io.Reader // modules.builtin, which comes with the kernel
}

// ReadModuleIndex parses the index files. Paths that would leave the modules'
// directory are errors, as are files too large to be what they should be.
func ReadModuleIndex(files *IndexFiles) (*ModuleIndex, error) {
	x := &ModuleIndex{
		path: map[string]string{}, needs: map[string][]string{},
		soft: map[string][]string{}, builtin: map[string]bool{},
	}
	for _, f := range []struct {
		name string
		r    io.Reader
		line func(string) error
	}{
		{"modules.dep", files.Dep, x.depLine},
		{"modules.softdep", files.SoftDep, x.softLine},
		{"modules.builtin", files.Builtin, x.builtinLine},
	} {
		if f.r == nil {
			continue
		}
		if err := eachLine(f.r, f.line); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	// dm-verity asks for its hash by name when a device is made, which depmod
	// cannot see. Without this module the kernel hashes in plain C.
	x.soft["dm_verity"] = append(x.soft["dm_verity"], "sha256_ssse3")
	return x, nil
}

func eachLine(r io.Reader, line func(string) error) error {
	s := bufio.NewScanner(io.LimitReader(r, maxReadBytes))
	s.Buffer(nil, maxIndexLine)
	n := 0
	for s.Scan() {
		n++
		text := strings.TrimSpace(s.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if err := line(text); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// depLine parses "kernel/a/b.ko.xz: kernel/c/d.ko.xz kernel/e/f.ko.xz".
func (x *ModuleIndex) depLine(line string) error {
	file, rest, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("no colon in %.80q", line)
	}
	if !cleanModulePath(file) {
		return fmt.Errorf("module path %.80q", file)
	}
	if len(x.path) >= maxModules {
		return fmt.Errorf("more than %d modules", maxModules)
	}
	name := moduleName(file)
	x.path[name] = file
	// modules.dep lists what is needed deepest last: load from the end.
	for _, f := range slices.Backward(strings.Fields(rest)) {
		x.needs[name] = append(x.needs[name], moduleName(f))
	}
	return nil
}

// softLine parses "softdep NAME [pre: A B...] [post: C D...]"; names before
// "pre:" are of old modules and mean the same.
func (x *ModuleIndex) softLine(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "softdep" {
		return fmt.Errorf("not a softdep: %.80q", line)
	}
	name := normal(fields[1])
	for _, f := range fields[2:] {
		if f == "post:" {
			break
		}
		if f != "pre:" {
			x.soft[name] = append(x.soft[name], normal(f))
		}
	}
	return nil
}

func (x *ModuleIndex) builtinLine(line string) error {
	x.builtin[moduleName(line)] = true
	return nil
}

// Order returns the paths of the wanted modules and of everything they need,
// each after what it needs, in the order of the wish otherwise. A module that
// is built into the kernel needs nothing. One that does not exist is an error;
// a soft dependency that does not exist is passed over.
func (x *ModuleIndex) Order(wanted ...string) ([]string, error) {
	o := &ordering{index: x, seen: map[string]bool{}}
	for _, name := range wanted {
		name = normal(name)
		if x.path[name] == "" && !x.builtin[name] {
			return nil, fmt.Errorf("kernel module %q: neither a module nor built into this kernel", name)
		}
		if err := o.visit(name); err != nil {
			return nil, err
		}
	}
	return o.paths, nil
}

type ordering struct {
	index *ModuleIndex
	seen  map[string]bool
	paths []string
}

// visit adds a module after what it needs. A circle, which depmod refuses to
// write and which soft dependencies may form, ends where it closes.
func (o *ordering) visit(name string) error {
	if o.seen[name] || o.index.builtin[name] {
		return nil
	}
	if len(o.seen) >= maxWanted {
		return fmt.Errorf("kernel module %q: more than %d modules are needed", name, maxWanted)
	}
	o.seen[name] = true
	for _, soft := range o.index.soft[name] {
		if o.index.path[soft] != "" {
			if err := o.visit(soft); err != nil {
				return err
			}
		}
	}
	for _, need := range o.index.needs[name] {
		if o.index.path[need] == "" && !o.index.builtin[need] {
			return fmt.Errorf("kernel module %q: needs %q, which does not exist", name, need)
		}
		if err := o.visit(need); err != nil {
			return err
		}
	}
	o.paths = append(o.paths, o.index.path[name])
	return nil
}

// moduleName is the name of the module in a file: base name without ".ko" and
// what follows, "-" as "_".
func moduleName(file string) string {
	base := path.Base(file)
	if i := strings.Index(base, ".ko"); i >= 0 {
		base = base[:i]
	}
	return normal(base)
}

func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

func cleanModulePath(p string) bool {
	return p != "" && path.Clean(p) == p && !path.IsAbs(p) && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}
