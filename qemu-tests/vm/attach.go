package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// Attach runs the machine with its console on the given streams, until it is
// switched off or the person at the console ends QEMU (Ctrl-A, then x). There
// is no agent then: Run and Expect are of no use.
func (v *VM) Attach(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	cmd := v.config.Tools.Command(ctx, "qemu-system-x86_64", v.config.args(v.files, true)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("QEMU: %w", exit)
	}
	return err
}
