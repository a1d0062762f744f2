// Command host holds the programs of the host in one binary. It is called by
// a program's name, through a link of that name, or as "slipway-host NAME
// ARGS".
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"slipway/cmd/internal/host"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if _, ok := host.Programs()[name]; !ok && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	program, ok := host.Programs()[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: slipway-host NAME ARGS\nprograms: %s\n", strings.Join(host.Names(), " "))
		os.Exit(2)
	}
	os.Exit(program.Run(name, args))
}
