package main

import (
	"context"
	"crypto/sha256"
	"os"

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
