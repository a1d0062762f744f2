package main

import (
	"context"
	"crypto/sha256"
	"os"

	"slipway/build/lock"
	"slipway/build/store"
	"slipway/build/tree"
	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/report"
	"slipway/overlays"
)

// compilePrograms gives the files that are Go programs their content.
func compilePrograms(ctx context.Context, w *workspace, config *overlays.Config, rep *report.Report) error {
	files := config.Programs()
	if len(files) == 0 {
		return nil
	}
	step := rep.LoggedStep("programs")
	defer step.Fail()
	toolchain, err := goprogram.Toolchain(w.root)
	if err != nil {
		return err
	}
	var bytes int64
	for i, f := range files {
		name, err := goprogram.ModuleOf(f, toolchain).Build(ctx, w.cache)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f.Blob = tree.Stored(name, int64(len(data)), sha256.Sum256(data))
		bytes += f.Blob.Size()
		step.Count(int64(i+1), int64(len(files)))
	}
	step.Done("%d Go programs, %s", len(files), megabytes(bytes))
	return nil
}

// lockPrograms describes the Go programs of the overlays for a lock.
func lockPrograms(config *overlays.Config) ([]lock.Program, error) {
	var all []lock.Program
	for _, f := range config.Programs() {
		m := goprogram.ModuleOf(f, "")
		sources, err := m.Sources()
		if err != nil {
			return nil, err
		}
		version, err := m.Version()
		if err != nil {
			return nil, err
		}
		all = append(all, lock.Program{
			Path: f.Path, Package: f.Program.Package, Version: version,
			Sources: store.Sum(sources), Why: "overlay " + f.Layer,
		})
	}
	return all, nil
}
