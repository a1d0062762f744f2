package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
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
		return reportChanges(c, file, lock.Compare(old, fresh))
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

// reportChanges prints what differs; any difference is exit status 1.
func reportChanges(c *cli.Context, file string, changes []lock.Change) error {
	if c.Bool("json") {
		lines := []string{}
		for _, change := range changes {
			lines = append(lines, change.String())
		}
		printJSON(c.App.Writer, map[string]any{"lock": file, "changes": lines})
	} else {
		for _, change := range changes {
			fmt.Fprintln(c.App.Writer, change)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return hint.Add(fmt.Errorf("%s: %d packages differ from the archive", file, len(changes)),
		"slipway lock --file %s writes the new state", file)
}
