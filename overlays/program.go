package overlays

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"slipway/build/tree"
)

// Program is a Go program that the build compiles for a path of the image.
type Program struct {
	Package   string            // import path
	Variables map[string]string // by import path and name
	// Module is the module's directory, go.mod at its root; Dir is its name
	// for people: "etcd/programs".
	Module fs.FS
	Dir    string
}

var (
	importPath   = regexp.MustCompile(`^(\./)?[A-Za-z0-9][A-Za-z0-9._~/-]*$`)
	variableName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*\.[A-Za-z_][A-Za-z0-9_]*$`)
)

// setPrograms adds the programs that overlay.yaml names to the layer's files.
func (l *Layer) setPrograms(fsys fs.FS) error {
	for _, p := range slices.Sorted(maps.Keys(l.Spec.Programs)) {
		spec := l.Spec.Programs[p]
		if err := l.setProgram(fsys, p, &spec); err != nil {
			return fmt.Errorf("%s/overlay.yaml: programs: %q: %w", l.Name, p, err)
		}
	}
	return nil
}

func (l *Layer) setProgram(fsys fs.FS, p string, spec *ProgramSpec) error {
	if slices.ContainsFunc(l.Files, func(f File) bool { return f.Path == p }) {
		return fmt.Errorf("is among the layer's files too")
	}
	if err := spec.validate(p); err != nil || spec.Omit {
		return err
	}
	module, err := fs.Sub(fsys, spec.Module)
	if err != nil {
		return cause(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if st, err := fs.Stat(module, name); err != nil || !st.Mode().IsRegular() {
			return fmt.Errorf("no %s in %s", name, path.Join(l.Name, spec.Module))
		}
	}
	l.Files = append(l.Files, File{
		Path: p, Layer: l.Name, Type: tree.File, Mode: 0o755, Owner: "root", Group: "root",
		Replace: spec.Replace, Program: &Program{
			Package: spec.Package, Variables: spec.Variables,
			Module: module, Dir: path.Join(l.Name, spec.Module),
		},
	})
	return nil
}

// validate checks what does not need the layer's files.
func (s *ProgramSpec) validate(p string) error {
	switch {
	case s.Omit && (s.Module != "" || s.Package != "" || len(s.Variables) > 0 || s.Replace):
		return fmt.Errorf("omit: stands alone")
	case !strings.HasPrefix(p, "usr/"):
		return fmt.Errorf("not below usr/")
	case s.Omit:
		return nil
	case !fs.ValidPath(s.Module) || s.Module == ".":
		return fmt.Errorf("module: %q is not a directory of the layer", s.Module)
	case s.Module == "files" || strings.HasPrefix(s.Module, "files/"):
		return fmt.Errorf("module: %q is part of the image", s.Module)
	case !importPath.MatchString(s.Package) || strings.Contains(s.Package, ".."):
		return fmt.Errorf("package: %q is not an import path", s.Package)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		if !variableName.MatchString(name) {
			return fmt.Errorf("variables: %q is not an import path, a dot and a name", name)
		}
		if strings.ContainsAny(s.Variables[name], "'\n\x00") {
			return fmt.Errorf("variables: %s holds a quote or a line break", name)
		}
	}
	return nil
}

// Programs lists the files that are programs to compile.
func (c *Config) Programs() []*File {
	var all []*File
	for i := range c.Files {
		if c.Files[i].Program != nil {
			all = append(all, &c.Files[i])
		}
	}
	return all
}
