package main

import (
	"io/fs"
	"syscall"
	"time"
)

// onDisk is the room a file takes, in bytes: holes do not count.
func onDisk(st fs.FileInfo) int64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512
	}
	return st.Size()
}

// lastUse is when a file was last read or written, as far as the file system
// keeps account of it.
func lastUse(st fs.FileInfo) time.Time {
	last := st.ModTime()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if read := time.Unix(sys.Atim.Sec, sys.Atim.Nsec); read.After(last) {
			last = read
		}
	}
	return last
}
