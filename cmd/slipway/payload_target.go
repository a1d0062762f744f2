package main

import (
	"errors"
	"os"
)

// targetFile is what apply writes to: a partition, or a file that appears
// under its name when it is complete.
type targetFile struct {
	*os.File
	size   int64
	rename string // in the end; "" for a partition
}

func openTarget(name string, size int64) (*targetFile, error) {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		f, size, err := openImage(name) // refuses what is no block device
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, os.O_RDWR|os.O_EXCL, 0) // which refuses what is mounted
		return &targetFile{f, size, ""}, err
	}
	f, err := os.OpenFile(name+".part", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &targetFile{f, size, name}, nil
}

// ZeroAt leaves holes in a new file.
func (t *targetFile) ZeroAt(offset, size int64) error {
	if t.rename != "" {
		return nil
	}
	zeros := make([]byte, min(size, 1<<20))
	for end := offset + size; offset < end; offset += int64(len(zeros)) {
		if _, err := t.WriteAt(zeros[:min(int64(len(zeros)), end-offset)], offset); err != nil {
			return err
		}
	}
	return nil
}

func (t *targetFile) close(complete bool) error {
	err := t.Close()
	switch {
	case t.rename == "":
		return err
	case complete && err == nil:
		return os.Rename(t.Name(), t.rename)
	}
	return errors.Join(err, os.Remove(t.Name()))
}
