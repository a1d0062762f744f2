package goprogram

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"slipway/build/flock"
	"slipway/cmd/internal/hint"
)

// program is what to compile for linux/amd64.
type program struct {
	name      string // first part of the file's name
	pkg       string // import path
	toolchain string
	variables []string // "import/path.Name=value"
	key       string   // covers everything that the bytes depend on
	// dir gives the module to work in. It is asked only if there is something
	// to compile, with a directory that is deleted afterwards.
	dir func(aside string) (string, error)
}

// build gives the kept program of that key, compiling it if there is none.
func (p *program) build(ctx context.Context, cacheDir string) (string, error) {
	h := sha256.Sum256([]byte(p.key))
	dir := filepath.Join(cacheDir, "programs")
	out := filepath.Join(dir, p.name+"-"+hex.EncodeToString(h[:12]))
	if intact(out) {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Of two builds at a time one compiles, the other waits for it.
	unlock, err := flock.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if intact(out) {
		return out, nil
	}
	aside, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(aside)
	compiled := filepath.Join(aside, "program")
	if err := p.compile(ctx, aside, compiled); err != nil {
		return "", err
	}
	return out, keep(compiled, out)
}

// compile runs go.
func (p *program) compile(ctx context.Context, aside, out string) error {
	dir, err := p.dir(aside)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", p.arguments(out)...)
	cmd.Dir = dir
	// GOFLAGS is never empty: go would take it from the user's settings. Without
	// -mod, go.mod and go.sum are read only, and a vendor directory is used.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1",
		"GOFLAGS=-trimpath", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GOTOOLCHAIN="+p.toolchain)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return hint.Add(fmt.Errorf("compile %s: no go in $PATH", p.pkg), "slipway doctor says which Go is needed")
	case err != nil:
		return &compileError{p.pkg, err, strings.TrimSpace(stderr.String())}
	}
	return nil
}

// arguments are those of go.
func (p *program) arguments(out string) []string {
	flags := []string{"-s", "-w", "-buildid="}
	for _, v := range p.variables {
		flags = append(flags, "-X", "'"+v+"'")
	}
	return []string{"build", "-buildvcs=false", "-ldflags=" + strings.Join(flags, " "), "-o", out, p.pkg}
}

// compileError is what go said when it could not make a program.
type compileError struct {
	pkg    string
	err    error
	stderr string
}

func (e *compileError) Error() string {
	_, line := complaint(e)
	return fmt.Sprintf("compile %s: %v: %s", e.pkg, e.err, line)
}

func (e *compileError) Unwrap() error { return e.err }

// kind sorts go's complaints by what helps.
type kind int

const (
	other kind = iota
	unpinned
	mismatched
	unreachable
)

// complaint finds the line of go's output that says most.
func complaint(err error) (kind, string) {
	e, ok := errors.AsType[*compileError](err)
	if !ok {
		return other, ""
	}
	lines := strings.Split(e.stderr, "\n")
	for _, c := range []struct {
		kind  kind
		words []string
	}{
		{mismatched, []string{"checksum mismatch", "SECURITY ERROR"}},
		{unpinned, []string{"missing go.sum entry", "updates to go.mod needed", "no required module provides", "cannot find module providing"}},
		{unreachable, []string{"dial tcp", "module lookup disabled", "i/o timeout", "TLS handshake", "no such host"}},
	} {
		for _, line := range lines {
			for _, word := range c.words {
				if strings.Contains(line, word) {
					fact, _, _ := strings.Cut(line, "; to add") // on lines of its own
					return c.kind, strings.TrimSpace(fact)
				}
			}
		}
	}
	return other, lines[len(lines)-1]
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
