package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"slipway/cmd/internal/hint"
)

// workspace is where things lie: the project, the cache and the keys.
type workspace struct {
	root  string // checkout of the project: overlays and program sources
	cache string // $SLIPWAY_CACHE, else below the user's cache directory
	keys  string // $SLIPWAY_KEYS, else below the user's configuration directory
}

func openWorkspace() (*workspace, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	keys, err := keysDir()
	if err != nil {
		return nil, err
	}
	return &workspace{root, cache, keys}, nil
}

// keysOnly is a workspace for commands that read nothing of the project.
func keysOnly() (*workspace, error) {
	keys, err := keysDir()
	return &workspace{keys: keys}, err
}

func keysDir() (string, error) {
	if dir := os.Getenv("SLIPWAY_KEYS"); dir != "" {
		return dir, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", hint.Add(fmt.Errorf("key directory: %w", err), "export SLIPWAY_KEYS=DIR")
	}
	return filepath.Join(config, "slipway", "keys"), nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("SLIPWAY_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", hint.Add(fmt.Errorf("cache directory: %w", err), "export SLIPWAY_CACHE=DIR")
	}
	return filepath.Join(dir, "slipway"), nil
}

// findRoot looks for the checkout upwards from the working directory.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module slipway\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", hint.Add(fmt.Errorf("working directory: not inside a checkout of slipway"),
				"cd to the checkout; overlays and program sources are read from it")
		}
		dir = parent
	}
}
