package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Usage counts what a store holds.
type Usage struct {
	Files        int
	Bytes        int64 // of finished files
	Partials     int
	PartialBytes int64 // of downloads that were not finished
}

// Usage walks the store. Files that go away meanwhile are not counted.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	err := s.walk(func(_ string, _ Sum, size int64) error {
		u.Files++
		u.Bytes += size
		return nil
	}, func(_ string, size int64) error {
		u.Partials++
		u.PartialBytes += size
		return nil
	})
	return u, err
}

// Prune removes every finished file that keep does not want, and partial files
// that nobody is writing; it returns what was removed. A nil keep wants
// nothing. Only call it when no other process is building from the store:
// a file may go between being found and being opened.
func (s *Store) Prune(keep func(Sum) bool) (Usage, error) {
	var u Usage
	err := s.walk(func(path string, sum Sum, size int64) error {
		if keep != nil && keep(sum) {
			return nil
		}
		if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		u.Files++
		u.Bytes += size
		return nil
	}, func(path string, size int64) error {
		removed, err := removeUnlocked(path)
		if removed {
			u.Partials++
			u.PartialBytes += size
		}
		return err
	})
	return u, err
}

// removeUnlocked removes a partial file unless a writer holds it.
func removeUnlocked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil
	}
	return true, os.Remove(path)
}

// walk visits finished files, then partial ones. Files of other names are left
// alone.
func (s *Store) walk(file func(string, Sum, int64) error, partial func(string, int64) error) error {
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		dir := filepath.Base(filepath.Dir(path))
		if dir == partialDir {
			return partial(path, info.Size())
		}
		if sum, err := ParseSum(d.Name()); err == nil && dir == d.Name()[:2] {
			return file(path, sum, info.Size())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
