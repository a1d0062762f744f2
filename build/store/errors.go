package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrExists says that the store has the file already and nothing needs to be
// written.
var ErrExists = errors.New("already in the store")

// MismatchError says that content is not what its digest or size promised. What
// was written is gone.
type MismatchError struct {
	WantSize, Size int64
	Want, Got      Sum
}

// Error shows both sides of whichever differs, the size first.
func (e *MismatchError) Error() string {
	if e.WantSize != e.Size {
		return fmt.Sprintf("size mismatch: want %d bytes, got %d", e.WantSize, e.Size)
	}
	return fmt.Sprintf("sha256 mismatch: want %s, got %s", e.Want, e.Got)
}

// FullError says that the file system of the store has no room left.
type FullError struct {
	Dir  string
	Need int64 // bytes of the file that did not fit, 0 if unknown
	Free int64 // bytes that were free then
	err  error
}

// Error says where and how much.
func (e *FullError) Error() string {
	need := ""
	if e.Need > 0 {
		need = fmt.Sprintf(" for a file of %d bytes", e.Need)
	}
	return fmt.Sprintf("store %s: disk full%s: %d bytes free", e.Dir, need, e.Free)
}

// Unwrap gives the system's error.
func (e *FullError) Unwrap() error { return e.err }

// Hint says what helps.
func (e *FullError) Hint() string {
	return "make room with `slipway cache prune`, or set SLIPWAY_CACHE to a directory with room"
}

// diskError turns "no space" and "over quota" into a FullError.
func diskError(dir string, need int64, err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	full := &FullError{Dir: filepath.Clean(dir), Need: need, err: err}
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) == nil {
		full.Free = int64(stat.Bavail) * stat.Bsize
	}
	return full
}
