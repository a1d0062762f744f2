package main

import (
	"maps"
	"os"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/cgpt"
	"slipway/cmd/internal/rootdev"
)

// program runs one of the host's programs under the name it was called by
// and returns the exit code.
type program func(name string, args []string) int

func programs() map[string]program {
	return map[string]program{
		"cgpt": func(name string, args []string) int {
			return cgpt.Main(args, cgpt.Env{
				Name: name, Stdout: os.Stdout, Stderr: os.Stderr, NewUUID: uuid.New,
				Dev: "/dev", Proc: "/proc", Sys: "/sys", Stat: unix.Stat,
			})
		},
		"rootdev": func(name string, args []string) int {
			return rootdev.Main(args, rootdev.Env{
				Name: name, Stdout: os.Stdout, Stderr: os.Stderr,
				Dev: "/dev", Proc: "/proc", Sys: "/sys", Stat: unix.Stat,
			})
		},
	}
}

func names() []string { return slices.Sorted(maps.Keys(programs())) }
