// Command slipway builds immutable operating-system images out of Debian
// packages and boots, inspects and tests them. Its parts are packages of their
// own; this program puts them in order and talks to the user.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := Main(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
