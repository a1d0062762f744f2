// Package goprogram compiles the project's own on-host programs with the Go
// toolchain that runs the build. A program is compiled once per state of the
// sources: its cache key covers every Go file of the module, so that a warm
// build starts no compiler.
package goprogram

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"slipway/cmd/internal/hint"
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

// Build gives the path of the compiled static program for linux/amd64. It
// lies in cacheDir and stays there.
func Build(ctx context.Context, root, pkg, cacheDir string) (string, error) {
	sum, err := Sources(root)
	if err != nil {
		return "", fmt.Errorf("read sources of %s: %w", pkg, err)
	}
	toolchain, err := Toolchain(root)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%s %s %x", pkg, toolchain, sum))
	dir := filepath.Join(cacheDir, "programs")
	out := filepath.Join(dir, filepath.Base(pkg)+"-"+hex.EncodeToString(h[:12]))
	if intact(out) {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	aside, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(aside)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid=", "-o", filepath.Join(aside, "program"), pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GOTOOLCHAIN="+toolchain)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return "", hint.Add(fmt.Errorf("compile %s: no go in $PATH", pkg), "slipway doctor says which Go is needed")
	case err != nil:
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("compile %s: %w: %s", pkg, err, lines[len(lines)-1])
	}
	return out, keep(filepath.Join(aside, "program"), out)
}

// sumSuffix ends the name of the file that holds the SHA-256 of a program.
const sumSuffix = ".sha256"

// intact says whether a kept program is there with the bytes it was kept with.
func intact(name string) bool {
	want, err := os.ReadFile(name + sumSuffix)
	if err != nil {
		return false
	}
	got, err := digest(name)
	return err == nil && bytes.Equal(want, got)
}

// keep gives a compiled program its name, after its digest.
func keep(program, name string) error {
	sum, err := digest(program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(program+sumSuffix, sum, 0o644); err != nil {
		return err
	}
	if err := os.Rename(program+sumSuffix, name+sumSuffix); err != nil {
		return err
	}
	return os.Rename(program, name)
}

// digest is the SHA-256 of a file in hex.
func digest(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return hex.AppendEncode(nil, h.Sum(nil)), nil
}
