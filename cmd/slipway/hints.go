package main

import (
	"errors"
	"io/fs"
	"syscall"

	"slipway/build/store"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
)

// withHint adds what helps to errors of the system that carry no hint of their
// own.
func withHint(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return hint.Add(err, "slipway cache prune, or put --out and $SLIPWAY_CACHE on a larger disk")
	case isMismatch(err):
		return hint.Add(err, "try --mirror URL of another mirror; for an old lock file: slipway lock")
	case errors.Is(err, release.ErrBusy):
		return hint.Add(err, "wait for it, or build with another --out")
	case errors.Is(err, fs.ErrPermission):
		return hint.Add(err, "slipway needs no root: choose --out, $SLIPWAY_CACHE and $SLIPWAY_KEYS where you may write")
	}
	return err
}

// isMismatch says that something fetched is not what its digest promised.
func isMismatch(err error) bool {
	_, ok := errors.AsType[*store.MismatchError](err)
	return ok
}
