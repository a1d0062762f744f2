package goprogram_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/goprogram"
)

// module is a checkout with one small program and nothing to download.
func module(t *testing.T) string {
	root := t.TempDir()
	for _, dir := range []string{"build", "overlays", "partitions", "signing", "cmd/tiny"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, text := range map[string]string{
		"go.mod":           "module tiny\n\ngo 1.24\n\ntoolchain " + runtime.Version() + "\n",
		"go.sum":           "",
		"cmd/tiny/main.go": "package main\n\nfunc main() {}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	return root
}

// A kept program that was damaged since is compiled again, to the same bytes.
func TestDamagedProgramIsMadeAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	root, cache := module(t), t.TempDir()
	name, err := goprogram.Build(t.Context(), root, "tiny/cmd/tiny", cache)
	require.NoError(t, err)
	good, err := os.ReadFile(name)
	require.NoError(t, err)
	for what, damage := range map[string]func() error{
		"cut":     func() error { return os.Truncate(name, 10) },
		"empty":   func() error { return os.WriteFile(name, nil, 0o755) },
		"no sum":  func() error { return os.Remove(name + ".sha256") },
		"removed": func() error { return os.Remove(name) },
	} {
		t.Run(what, func(t *testing.T) {
			require.NoError(t, damage())
			again, err := goprogram.Build(t.Context(), root, "tiny/cmd/tiny", cache)
			require.NoError(t, err)
			assert.Equal(t, name, again)
			got, err := os.ReadFile(again)
			require.NoError(t, err)
			assert.True(t, string(good) == string(got), "other bytes")
		})
	}
	entries, err := os.ReadDir(filepath.Join(cache, "programs"))
	require.NoError(t, err)
	assert.Len(t, entries, 3, "left over besides the lock, the program and its digest")
}
