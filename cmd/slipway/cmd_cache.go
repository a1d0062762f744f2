package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/build/store"
	"slipway/cmd/internal/hint"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "show or shrink what is kept between builds",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return hint.Add(hint.Usagef("cache %q: unknown", c.Args().First()), "slipway cache info, verify or prune")
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			{
				Name:   "info",
				Usage:  "show where the cache is and what it holds",
				Flags:  []cli.Flag{jsonFlag()},
				Action: cacheInfo,
			},
			{
				Name:   "verify",
				Usage:  "compare kept packages with their digests, delete what a failing disk changed",
				Flags:  []cli.Flag{jsonFlag()},
				Action: cacheVerify,
			},
			{
				Name:  "prune",
				Usage: "delete what no build used for some days",
				Flags: []cli.Flag{
					&cli.IntFlag{Name: "days", Value: 30, Usage: "keep what was used in the last `N` days; 0 deletes everything"},
					jsonFlag(),
				},
				Action: cachePrune,
			},
		},
	}
}

// cacheParts says what each directory of the cache is for.
func cacheParts() map[string]string {
	return map[string]string{
		"store":    "packages and indexes, by SHA-256",
		"index":    "what was read from package indexes",
		"unpacked": "packages, decompressed",
		"tools":    "foreign programs, ready to run",
		"steps":    "results of finish steps",
		"programs": "compiled Go programs",
	}
}

type cachePart struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // on disk
}

func cacheInfo(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	var parts []cachePart
	for name, what := range cacheParts() {
		part := cachePart{Name: name, What: what}
		err := walkFiles(filepath.Join(dir, name), func(_ string, st fs.FileInfo) error {
			part.Files++
			part.Bytes += onDisk(st)
			return nil
		})
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b cachePart) int { return int(max(-1, min(1, b.Bytes-a.Bytes))) })
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"directory": dir, "parts": parts})
	}
	fmt.Fprintln(c.App.Writer, dir)
	for _, p := range parts {
		fmt.Fprintf(c.App.Writer, "%-10s %12s %8d files  %s\n", p.Name, megabytes(p.Bytes), p.Files, p.What)
	}
	return nil
}

// cachePrune deletes by age of last use. Everything in the cache can be made
// again, and each part is whole or not there, so deleting entries is safe.
func cachePrune(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	if c.Int("days") < 0 {
		return hint.Add(hint.Usagef("cache prune: --days %d: negative", c.Int("days")), "--days 0 deletes everything")
	}
	limit := time.Now().AddDate(0, 0, -c.Int("days"))
	kept := func(last time.Time) bool { return last.After(limit) && c.Int("days") > 0 }
	freed, err := pruneStore(filepath.Join(dir, "store"), kept)
	if err != nil {
		return err
	}
	for name := range cacheParts() {
		if name == "store" {
			continue
		}
		bytes, err := pruneEntries(filepath.Join(dir, name), kept)
		if err != nil {
			return err
		}
		freed += bytes
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"directory": dir, "freed": freed})
	}
	fmt.Fprintf(c.App.Writer, "%s: %s freed\n", dir, megabytes(freed))
	return nil
}

// pruneStore deletes files of the store, but no download that goes on.
func pruneStore(dir string, kept func(last time.Time) bool) (freed int64, err error) {
	files, err := store.Open(dir)
	if err != nil {
		return 0, err
	}
	gone, err := files.Prune(func(sum store.Sum) bool {
		_, last, err := usage(files.Path(sum))
		return err == nil && kept(last)
	})
	return gone.Bytes + gone.PartialBytes, err
}

// pruneEntries deletes files and directories of a part, each as a whole.
func pruneEntries(dir string, kept func(last time.Time) bool) (freed int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return 0, err
	}
	for _, e := range entries {
		entry := filepath.Join(dir, e.Name())
		bytes, last, err := usage(entry)
		if err != nil {
			return freed, err
		}
		if kept(last) {
			continue
		}
		if err := os.RemoveAll(entry); err != nil {
			return freed, err
		}
		freed += bytes
	}
	return freed, nil
}

// usage gives the size on disk of an entry and when it was last read or
// written.
func usage(entry string) (bytes int64, last time.Time, err error) {
	err = walkFiles(entry, func(_ string, st fs.FileInfo) error {
		bytes += onDisk(st)
		if t := lastUse(st); t.After(last) {
			last = t
		}
		return nil
	})
	return bytes, last, err
}

// walkFiles calls f for each regular file below dir; no such dir is no error.
func walkFiles(dir string, f func(name string, st fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return nil // deleted meanwhile
		}
		return f(p, st)
	})
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
