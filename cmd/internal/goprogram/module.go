package goprogram

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"slipway/cmd/internal/hint"
	"slipway/overlays"
)

// Module is a program of a Go module that a layer holds. Its go.mod and go.sum
// pin every module it is made of.
type Module struct {
	// Name says in messages whose program it is: "overlay etcd: usr/bin/etcd".
	Name string
	// Files is the module, go.mod at its root. It may hold sources of its own.
	Files fs.FS
	// Place is where a person finds Files.
	Place string
	// Package is the import path of the program, in this module or in one that
	// it requires.
	Package string
	// Variables are string variables to set, by import path and name.
	Variables map[string]string
	// Toolchain is the Go release to compile with if go.mod names none.
	Toolchain string
}

// ModuleOf describes a program that a layer names; toolchain is the project's.
func ModuleOf(f *overlays.File, toolchain string) *Module {
	return &Module{
		Name: fmt.Sprintf("overlay %s: %s", f.Layer, f.Path), Files: f.Program.Module, Place: f.Program.Dir,
		Package: f.Program.Package, Variables: f.Program.Variables, Toolchain: toolchain,
	}
}

// Limits of a module's own files; it is read as a whole.
const (
	maxFiles = 10_000
	maxBytes = 64 << 20
)

// Build gives the path of the compiled program. It lies in cacheDir and stays
// there. Modules that the host does not have are fetched by go, from the
// proxy it is set up with, and must be as go.sum says.
func (m *Module) Build(ctx context.Context, cacheDir string) (string, error) {
	mod, err := fs.ReadFile(m.Files, "go.mod")
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.Name, err)
	}
	toolchain := m.Toolchain
	if line := toolchainLine.FindSubmatch(mod); line != nil {
		toolchain = string(line[1])
	}
	sum, err := digestFiles(m.Files)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.Name, err)
	}
	p := &program{
		name: path.Base(m.Name), pkg: m.Package, toolchain: toolchain, variables: m.assignments(),
		key: fmt.Sprintf("%s %s %x %q", m.Package, toolchain, sum, m.assignments()),
		dir: func(aside string) (string, error) { return m.copyTo(aside, sum) },
	}
	name, err := p.build(ctx, cacheDir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.Name, m.explain(err))
	}
	return name, nil
}

// Sources is a digest of what the program is compiled from, whichever Go
// compiles it.
func (m *Module) Sources() ([32]byte, error) {
	sum, err := digestFiles(m.Files)
	if err != nil {
		return sum, fmt.Errorf("%s: %w", m.Name, err)
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s %x %q", m.Package, sum, m.assignments())), nil
}

// Version is that of the module that holds the package: as go.mod requires it,
// "" if it is this one.
func (m *Module) Version() (string, error) {
	text, err := fs.ReadFile(m.Files, "go.mod")
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.Name, err)
	}
	mod, err := modfile.Parse(path.Join(m.Place, "go.mod"), text, nil)
	if err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return "", fmt.Errorf("%s: %s", m.Name, line)
	}
	holder, version := "", ""
	for _, r := range mod.Require {
		if len(r.Mod.Path) > len(holder) && strings.HasPrefix(m.Package+"/", r.Mod.Path+"/") {
			holder, version = r.Mod.Path, r.Mod.Version
		}
	}
	return version, nil
}

// assignments are Variables as the linker takes them, in order.
func (m *Module) assignments() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.Variables)) {
		all = append(all, name+"="+m.Variables[name])
	}
	return all
}

// copyTo writes the module below dir, for go to work in, and sees to it that
// these are the files that the key was made of.
func (m *Module) copyTo(dir string, want [32]byte) (string, error) {
	dir = filepath.Join(dir, "module")
	if err := os.CopyFS(dir, m.Files); err != nil {
		return "", err
	}
	got, err := digestFiles(os.DirFS(dir))
	if err == nil && got != want {
		err = fmt.Errorf("%s: changed while it was read", m.Place)
	}
	return dir, err
}

// explain adds to go's complaints what helps.
func (m *Module) explain(err error) error {
	switch kind, _ := complaint(err); kind {
	case unpinned:
		return hint.Add(err, "cd %s && go mod tidy, then look at what changed in go.sum", m.Place)
	case mismatched:
		return hint.Add(err, "the module proxy gives other bytes than %s pins: try another one "+
			"(export GOPROXY=URL); change go.sum only if you know why", path.Join(m.Place, "go.sum"))
	case unreachable:
		return hint.Add(err, "its modules are fetched the first time it is compiled: go env GOPROXY says from where, "+
			"export GOPROXY=URL names another; compiled once, it needs no network")
	}
	return err
}

// digestFiles covers names and content of all regular files of a module.
func digestFiles(files fs.FS) ([32]byte, error) {
	h := sha256.New()
	count, room := 0, int64(maxBytes)
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: not a regular file", p)
		}
		f, err := files.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		content := sha256.New()
		n, err := io.Copy(content, io.LimitReader(f, room+1))
		if err != nil {
			return err
		}
		count++
		room -= n
		if room < 0 || count > maxFiles {
			return fmt.Errorf("module is larger than %d bytes in %d files", int64(maxBytes), maxFiles)
		}
		fmt.Fprintf(h, "%q %x\n", p, content.Sum(nil))
		return nil
	})
	return [32]byte(h.Sum(nil)), err
}
