// Package fleetctl is the program that steers a fleet. Its commands, flags,
// columns and messages are those of fleet 1.0; it asks fleetd by package api.
//
// What has to be done on another machine (ssh, journal, status) and tunnels are
// done by the system's ssh, with its keys, agents and configuration.
package fleetctl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"slipway/cmd/internal/fleet/api"
)

// Env is what the program sees of the world.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Home is the user's directory, "" if there is none.
	Home string
	// MachineID is that of this machine, "" if it has none.
	MachineID string
	// Run runs a program on this terminal and returns its exit code.
	Run func(ctx context.Context, argv []string) (int, error)
	// Pipe starts a program; what it reads and writes is the connection.
	Pipe func(ctx context.Context, argv []string) (io.ReadWriteCloser, error)
	// Sleep returns early if the context ends.
	Sleep func(context.Context, time.Duration)
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// command is one of the program's commands.
type command struct {
	name    string
	args    string // in the usage line
	summary string
	text    string
	flags   func(*flag.FlagSet, *options)
	// trailing commands take everything after the first argument as it is.
	trailing bool
	run      func(*session) int
}

// session is one run of a command.
type session struct {
	*Env
	options
	ctx      context.Context
	command  *command
	args     []string
	client   *api.Client
	machines map[string]*api.Machine // as listed once
}

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, e *Env) int {
	s := &session{Env: e, ctx: ctx}
	global := s.globalFlags()
	if err := s.fromEnv(global); err != nil {
		return s.usageError(err)
	}
	rest, err := parse(global, args, true)
	switch {
	case errors.Is(err, flag.ErrHelp) || err == nil && len(rest) == 0 && !s.version:
		s.help(nil)
		return exitDone
	case err != nil:
		return s.usageError(err)
	case s.version:
		return runVersion(s)
	}
	if s.command, err = find(rest[0]); err != nil {
		return s.usageError(err)
	}
	s.args, err = s.parseCommand(global, rest[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		s.help(s.command)
		return exitDone
	case err != nil:
		return s.usageError(err)
	}
	if err := s.connect(); err != nil {
		s.stderr("Unable to initialize client: %v", err)
		return exitFailed
	}
	return s.command.run(s)
}

// find gives a command by its name, or by a beginning of it that no other has.
func find(name string) (*command, error) {
	var found []*command
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		if strings.HasPrefix(c.name, name) {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("unknown command %q", name)
	}
	return found[0], nil
}

func (s *session) usageError(err error) int {
	s.stderr("fleetctl: %v", err)
	s.stderr("hint: fleetctl help")
	return exitUsage
}

func (s *session) stdout(format string, args ...any) { fmt.Fprintf(s.Stdout, format+"\n", args...) }

func (s *session) stderr(format string, args ...any) { fmt.Fprintf(s.Stderr, format+"\n", args...) }

func (s *session) debug(format string, args ...any) {
	if s.options.debug {
		s.stderr("DEBUG "+format, args...)
	}
}

// request bounds one request.
func (s *session) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, time.Duration(s.requestTimeout*float64(time.Second)))
}

// unit reads a unit, nil if there is none.
func (s *session) unit(name string) (*api.Unit, error) {
	ctx, cancel := s.request()
	defer cancel()
	return s.client.Unit(ctx, name)
}

func (s *session) units() ([]*api.Unit, error) {
	ctx, cancel := s.request()
	defer cancel()
	return s.client.Units(ctx)
}

func (s *session) setUnit(u *api.Unit) error {
	ctx, cancel := s.request()
	defer cancel()
	return s.client.SetUnit(ctx, u)
}

// readFile reads a unit file, of a bounded size.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
