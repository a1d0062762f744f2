package fleetctl

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Host is the Env of a real machine.
func Host() *Env {
	home, _ := os.UserHomeDir() // "" leaves "~" as it is
	id, _ := os.ReadFile("/etc/machine-id")
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Home: home,
		MachineID: strings.TrimSpace(string(id)), Run: run, Pipe: startPipe, Sleep: sleep,
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// run runs a program on the terminal.
func run(ctx context.Context, argv []string) (int, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// process is a program as a connection.
type process struct {
	io.Reader
	io.WriteCloser
	cmd *exec.Cmd
}

func startPipe(ctx context.Context, argv []string) (io.ReadWriteCloser, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{out, in, cmd}, nil
}

// Close ends the program.
func (p *process) Close() error {
	err := p.WriteCloser.Close()
	_ = p.cmd.Process.Kill() // it may have ended by itself
	_ = p.cmd.Wait()         // how it ended does not matter any more
	return err
}
