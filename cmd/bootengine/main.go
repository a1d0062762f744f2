// Command bootengine is PID 1 of the initramfs of a Slipway image; see package
// cmd/internal/bootengine. It is of no use when started by hand.
package main

import (
	"fmt"
	"os"

	"slipway/cmd/internal/bootengine"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "bootengine: it only runs as PID 1 of an initramfs")
		os.Exit(2)
	}
	bootengine.Main()
}
