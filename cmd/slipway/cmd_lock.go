package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/build/lock"
	"slipway/cmd/internal/hint"
)

const lockHelp = `Resolves a channel's packages from the signed archive as it is now and writes the
lock file, or with --check compares the lock file with it: exit status 1 and a
line per package when they differ.`

func lockCommand() *cli.Command {
	return &cli.Command{
		Name:        "lock",
		Usage:       "resolve the packages of a channel, write or compare the lock",
		Description: lockHelp,
		Flags: []cli.Flag{
			channelFlag(),
			overlayFlag(),
			&cli.BoolFlag{Name: "tools", Usage: "pin the foreign programs that builds and tests run, in build/tools/locks"},
			&cli.BoolFlag{Name: "check", Usage: "compare with the lock file instead of writing it"},
			&cli.StringFlag{Name: "file", Aliases: []string{"o"}, Value: "packages.lock", Usage: "the lock `FILE`"},
			mirrorFlag(),
			expiredFlag(),
			jsonFlag(),
		},
		Action: runLock,
	}
}

func runLock(c *cli.Context) (err error) {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.Bool("tools") {
		return lockTools(c)
	}
	w, err := openWorkspace()
	if err != nil {
		return err
	}
	config, err := loadConfig(w.root, c.String("channel"), c.StringSlice("overlay"))
	if err != nil {
		return err
	}
	rep := newReport(c)
	defer rep.Close()
	packages, err := openPackages(w, c.String("mirror"), c.Bool("allow-expired"), runtime.NumCPU(), rep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packages.Close()) }()
	file := c.String("file")
	var old *lock.Lock
	if c.Bool("check") {
		if old, err = readLockFile(file); err != nil {
			return err
		}
	}
	fresh, err := packages.resolve(c.Context, config, time.Now())
	if err != nil {
		return err
	}
	if c.Bool("check") {
		return reportChanges(c, file, old, fresh)
	}
	// The digests of maintainer scripts are in the packages alone.
	if err := packages.fetch(c.Context, fresh); err != nil {
		return err
	}
	if _, err := packages.unpack(c.Context, fresh); err != nil {
		return err
	}
	text, err := lockText(fresh)
	if err != nil {
		return err
	}
	if err := writeAside(file, text); err != nil {
		return err
	}
	rep.Close()
	rep.Result(map[string]any{"lock": file, "packages": len(fresh.Packages)})
	if !c.Bool("json") {
		fmt.Fprintln(c.App.Writer, file)
	}
	return nil
}

func readLockFile(name string) (*lock.Lock, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, hint.Add(err, "slipway lock --file %s writes it", name)
	}
	defer f.Close()
	return lock.Read(f, name)
}

// differences are the lines that say what a lock would change, and in words
// how many there are of what.
func differences(old, fresh *lock.Lock) (lines []string, count string) {
	lines = []string{}
	var counts []string
	packages := lock.Compare(old, fresh)
	for _, change := range packages {
		lines = append(lines, change.String())
	}
	if len(packages) > 0 {
		counts = append(counts, fmt.Sprintf("%d packages differ from the archive", len(packages)))
	}
	programs := lock.ComparePrograms(old.Programs, fresh.Programs)
	for _, change := range programs {
		lines = append(lines, change.String())
	}
	if len(programs) > 0 {
		counts = append(counts, fmt.Sprintf("%d Go programs differ from the overlays", len(programs)))
	}
	return lines, strings.Join(counts, ", ")
}

// reportChanges prints what differs; any difference is exit status 1.
func reportChanges(c *cli.Context, file string, old, fresh *lock.Lock) error {
	changes, count := differences(old, fresh)
	if c.Bool("json") {
		printJSON(c.App.Writer, map[string]any{"lock": file, "changes": changes})
	} else {
		for _, change := range changes {
			fmt.Fprintln(c.App.Writer, change)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return hint.Add(fmt.Errorf("%s: %s", file, count),
		"slipway lock --file %s writes the new state", file)
}
