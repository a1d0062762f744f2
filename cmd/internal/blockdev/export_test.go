package blockdev

import "os"

// OpenDirect opens a plain file as if it were a disk.
func OpenDirect(path string, flag int, sector int64) (f *File, direct bool, err error) {
	plain, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, false, err
	}
	f = &File{File: plain}
	err = f.open(path, flag, sector)
	return f, f.direct != nil, err
}
