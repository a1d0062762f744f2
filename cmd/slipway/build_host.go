package main

import (
	"context"
	"crypto/sha256"
	"os"
	"path"

	"slipway/build/tree"
	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/host"
)

// hostBinary holds all programs of ours that run on a booted machine, below
// /usr.
const hostBinary = "bin/slipway-host"

// addHostPrograms compiles the host's binary into /usr, with links for
// those of its programs that have one.
func addHostPrograms(ctx context.Context, w *workspace, usr *tree.Tree, time int64) error {
	name, err := goprogram.Build(ctx, w.root, "slipway/cmd/host", w.cache)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	binary := &tree.Node{
		Type: tree.File, Mode: 0o755, MTime: time, Origin: "slipway",
		Blob: tree.Stored(name, int64(len(data)), sha256.Sum256(data)),
	}
	if err := usr.Set(hostBinary, binary); err != nil {
		return err
	}
	for _, link := range host.Links() {
		node := &tree.Node{
			Type: tree.Symlink, Mode: 0o777, MTime: time, Origin: "slipway", Target: path.Base(hostBinary),
		}
		if err := usr.Set(path.Join(path.Dir(hostBinary), link), node); err != nil {
			return err
		}
	}
	return nil
}
