// Package goprogram compiles static programs for images with the Go toolchain
// that runs the build: the project's own, and those of Go modules that layers
// hold. A program is compiled once per state of its sources: its cache key
// covers every file that can reach it, so that a warm build starts no
// compiler.
package goprogram

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Sources is the digest of everything of the module in root that can reach a
// compiled program: go.mod, go.sum, and all files of the source folders that
// are neither tests nor overlay data.
func Sources(root string) ([32]byte, error) {
	h := sha256.New()
	for _, top := range []string{"go.mod", "go.sum", "build", "cmd", "overlays", "partitions", "signing"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, p)
			switch {
			case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
				return fs.SkipDir
			case d.IsDir(), strings.HasSuffix(rel, "_test.go"), !d.Type().IsRegular(),
				top == "overlays" && !strings.HasSuffix(rel, ".go"):
				return nil
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(rel), len(data))
			h.Write(data)
			return nil
		})
		if err != nil {
			return [32]byte{}, err
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

var toolchainLine = regexp.MustCompile(`(?m)^toolchain (go[0-9.]+)$`)

// Toolchain is the Go release named by the module's go.mod. Programs are
// compiled by exactly this one, so that their bytes are the same everywhere.
func Toolchain(root string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	m := toolchainLine.FindSubmatch(mod)
	if m == nil {
		return "", fmt.Errorf("go.mod: no toolchain line")
	}
	return string(m[1]), nil
}

// Build gives the path of a compiled program of the project, whose checkout is
// root. It lies in cacheDir and stays there.
func Build(ctx context.Context, root, pkg, cacheDir string) (string, error) {
	sum, err := Sources(root)
	if err != nil {
		return "", fmt.Errorf("read sources of %s: %w", pkg, err)
	}
	toolchain, err := Toolchain(root)
	if err != nil {
		return "", err
	}
	p := &program{
		name: filepath.Base(pkg), pkg: pkg, toolchain: toolchain,
		key: fmt.Sprintf("%s %s %x", pkg, toolchain, sum),
		dir: func(string) (string, error) { return root, nil },
	}
	return p.build(ctx, cacheDir)
}
