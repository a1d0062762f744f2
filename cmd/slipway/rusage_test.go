package main_test

import (
	"os"
	"syscall"
)

// peak is the largest resident size of a finished process, in bytes.
func peak(state *os.ProcessState) int64 {
	if r, ok := state.SysUsage().(*syscall.Rusage); ok {
		return r.Maxrss * 1024
	}
	return 0
}
