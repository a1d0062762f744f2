package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"slipway/build/store"
	"slipway/build/tree"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
)

// withHint adds what helps to errors of the system that carry no hint of their
// own.
func withHint(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return hint.Add(err, "slipway cache prune, or put --out, $SLIPWAY_CACHE and $TMPDIR on a larger disk")
	case !isDir(os.TempDir()):
		return hint.Add(err, "export TMPDIR=DIR: there is no directory %s", os.TempDir())
	case isDamage(err):
		return hint.Add(err, "slipway cache verify finds and deletes what is damaged")
	case isMismatch(err):
		return hint.Add(err, "try --mirror URL of another mirror; for an old lock file: slipway lock")
	case isNetwork(err):
		return hint.Add(err, "slipway doctor asks the mirrors, --mirror URL names another; "+
			"with --lock and a full cache no network is needed")
	case errors.Is(err, release.ErrBusy):
		return hint.Add(err, "wait for it, or build with another --out")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return hint.Add(err, "slipway needs no root: choose --out, $SLIPWAY_CACHE and $SLIPWAY_KEYS where you may write")
	}
	return err
}

// isNetwork says that a host could not be reached.
func isNetwork(err error) bool {
	_, operation := errors.AsType[*net.OpError](err)
	_, name := errors.AsType[*net.DNSError](err)
	return operation || name
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// isMismatch says that something fetched is not what its digest promised.
func isMismatch(err error) bool {
	_, ok := errors.AsType[*store.MismatchError](err)
	return ok
}

// isDamage tells content that rotted in the cache.
func isDamage(err error) bool {
	_, ok := errors.AsType[*tree.DigestError](err)
	return ok
}
