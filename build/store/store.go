// Package store keeps files by the SHA-256 of their content: downloaded
// packages and indexes, whatever has a digest that was known before or can be
// taken while writing.
//
// Layout below the directory: ab/<64 hex digits> for a finished file, where ab
// are the first two digits, and partial/<64 hex digits> for one that is still
// being written. A finished file has been hashed before it got its name, so the
// name can be trusted; it never changes afterwards. Several processes may share
// a store.
//
// It does not download anything and knows nothing of what it holds.
package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Sum is the SHA-256 of a file's content. It prints and marshals as 64 lower
// case hex digits.
type Sum [32]byte

// ParseSum reads 64 hex digits.
func ParseSum(s string) (Sum, error) {
	var sum Sum
	if len(s) != 2*len(sum) {
		return sum, fmt.Errorf("sha256 %q: want 64 hex digits, got %d characters", clip(s), len(s))
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return Sum{}, fmt.Errorf("sha256 %q: not hexadecimal", s)
	}
	return sum, nil
}

// clip keeps hostile input from flooding a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// String gives 64 lower case hex digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText is String.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSum.
func (s *Sum) UnmarshalText(text []byte) error {
	sum, err := ParseSum(string(text))
	*s = sum
	return err
}

// Store is a directory of files named by their digest. Its methods may be
// called from several goroutines and processes at once.
type Store struct {
	dir string
}

// Open makes the directory if needed and returns the store in it. A store needs
// no closing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, partialDir), 0o755); err != nil {
		return nil, fmt.Errorf("open store: %w", diskError(dir, 0, err))
	}
	return &Store{dir: dir}, nil
}

const partialDir = "partial"

// Path is where the file with that digest is or would be.
func (s *Store) Path(sum Sum) string {
	name := sum.String()
	return filepath.Join(s.dir, name[:2], name)
}

// Has says whether the file is there, complete and verified.
func (s *Store) Has(sum Sum) bool {
	info, err := os.Lstat(s.Path(sum))
	return err == nil && info.Mode().IsRegular()
}

// OpenFile opens a file for reading; the caller closes it. If it is not there
// the error is fs.ErrNotExist.
func (s *Store) OpenFile(sum Sum) (*os.File, error) {
	f, err := os.Open(s.Path(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("store: no file %s: %w", sum, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return f, nil
}

// Remove deletes the file; one that is not there is no error.
func (s *Store) Remove(sum Sum) error {
	err := os.Remove(s.Path(sum))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// install gives a finished temporary file its name.
func (s *Store) install(temp string, sum Sum) error {
	final := s.Path(sum)
	if err := os.Chmod(temp, 0o444); err != nil {
		return err
	}
	err := os.Rename(temp, final)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	return os.Rename(temp, final)
}
