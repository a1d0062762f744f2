package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"slipway/build/store"
	"slipway/build/unpack"
)

// cacheVerify compares what a build trusts without reading it with its
// digests, and deletes what differs: the next build makes it again.
func cacheVerify(c *cli.Context) (err error) {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	unpacked, err := unpack.Open(filepath.Join(dir, "unpacked"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unpacked.Close()) }()
	damaged := []string{}
	for _, part := range []struct {
		name, entries string
		sound         func(entry string, sum store.Sum) bool
	}{
		{"store", "store/??/*", hasSum},
		{"unpacked", "unpacked/*", func(_ string, sum store.Sum) bool { return unpacked.Verify(sum) == nil }},
	} {
		entries, err := fs.Glob(os.DirFS(dir), part.entries)
		if err != nil {
			return err
		}
		for _, name := range entries {
			if err := c.Context.Err(); err != nil {
				return err
			}
			entry := filepath.Join(dir, name)
			sum, err := store.ParseSum(filepath.Base(entry))
			if err != nil || part.sound(entry, sum) {
				continue // err: being written
			}
			damaged = append(damaged, filepath.Join(part.name, filepath.Base(entry)))
			if err := os.RemoveAll(entry); err != nil {
				return err
			}
		}
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"directory": dir, "damaged": damaged})
	}
	for _, name := range damaged {
		fmt.Fprintf(c.App.Writer, "%s: damaged, deleted\n", name)
	}
	fmt.Fprintf(c.App.Writer, "%s: %d damaged\n", dir, len(damaged))
	return nil
}

// hasSum says whether a file can be read and has this digest.
func hasSum(name string, sum store.Sum) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && store.Sum(h.Sum(nil)) == sum
}
