package tools

import (
	"embed"
	"errors"
	"fmt"

	"slipway/build/lock"
)

// locks has one lock file for each group, written by provision.Lock.
//
//go:embed locks
var locks embed.FS

// Pinned gives the lock of a group as this version of slipway was made with.
func Pinned(group string) (*lock.Lock, error) {
	name := LockName(group)
	f, err := locks.Open(name)
	if err != nil {
		return nil, fmt.Errorf("no packages are pinned: %w", errors.Unwrap(err))
	}
	defer f.Close()
	return lock.Read(f, name)
}

// LockName is the path of a group's lock below the directory of this package.
func LockName(group string) string { return "locks/" + group + ".lock" }
