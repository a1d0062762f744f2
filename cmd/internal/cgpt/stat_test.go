package cgpt_test

import "golang.org/x/sys/unix"

func stat(path string, st *unix.Stat_t) error { return unix.Stat(path, st) }
