package etcdtest

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"slipway/build/tools/toolstest"
	"slipway/cmd/internal/goprogram"
	"slipway/overlays"
)

// Program gives the path of a program of layer etcd, "etcd" or "etcdctl",
// compiling it if the cache does not have it.
func Program(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: compiles etcd")
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("internal error: no source file name")
	}
	root := filepath.Join(filepath.Dir(file), "../../..")
	toolchain, err := goprogram.Toolchain(root)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := overlays.Load(os.DirFS(filepath.Join(root, "overlays/etcd")), "etcd")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(layer.Files, func(f overlays.File) bool { return f.Path == "usr/bin/"+name })
	if i < 0 || layer.Files[i].Program == nil {
		t.Fatalf("overlay etcd: no program usr/bin/%s", name)
	}
	program, err := goprogram.ModuleOf(&layer.Files[i], toolchain).Build(t.Context(), toolstest.CacheDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return program
}
