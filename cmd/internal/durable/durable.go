// Package durable writes small files that are whole or not there, also after a
// power cut: written aside, synced, renamed, and the directory synced.
//
// It is for state that programs of the host keep, not for large files.
package durable

import (
	"os"
	"path/filepath"
)

// WriteFile writes a file of mode 0644, in a directory that is made if need be.
// When it returns without an error the file is on stable storage; with one,
// what was there before still is.
func WriteFile(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
