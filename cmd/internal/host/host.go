// Package host is the table of the programs that the host's one binary holds.
// It has no logic of its own: each program is a package beside it.
package host

import (
	"maps"
	"os"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"slipway/cmd/internal/cgpt"
	"slipway/cmd/internal/rootdev"
)

// Program runs one of the host's programs under the name it was called by
// and returns the exit code.
type Program func(name string, args []string) int

// Programs are the programs by the names they are called by.
func Programs() map[string]Program {
	return map[string]Program{
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

// Names lists the programs in byte order: the links an image has to the binary.
func Names() []string { return slices.Sorted(maps.Keys(Programs())) }
