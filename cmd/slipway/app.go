package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/report"
)

// Exit statuses, a contract with scripts.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs the program with its arguments and gives the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, flagsFirst(app, args))
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "slipway: interrupted; nothing half-written is left")
		return exitFailed
	}
	err = withHint(err)
	fmt.Fprintf(stderr, "slipway: %s\n", oneLine(err.Error()))
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	if _, ok := errors.AsType[*hint.Usage](err); ok {
		return exitUsage
	}
	return exitFailed
}

func newApp(stdout, stderr io.Writer) *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error {
		return hint.Add(&hint.Usage{Text: err.Error()}, "slipway help")
	}
	app := &cli.App{
		Name:        "slipway",
		Usage:       "build immutable OS images from Debian packages",
		Writer:      stdout,
		ErrWriter:   stderr,
		HideVersion: true,
		// A comma belongs to the path, the reference, the argument.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usage,
		CommandNotFound:           nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return hint.Add(hint.Usagef("command %q: unknown", c.Args().First()), "slipway help")
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			buildCommand(), lockCommand(), runCommand(), testCommand(),
			inspectCommand(), payloadCommand(), verifyCommand(), keysCommand(), signCommand(),
			promoteCommand(), publishCommand(), serveCommand(), cacheCommand(), doctorCommand(),
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usage
		for _, sub := range command.Subcommands {
			sub.OnUsageError = usage
		}
	}
	return app
}

// jsonFlag is understood by every command.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON: one event per line on long work, one document for answers"}
}

// newReport shows progress on the error stream, or as events on the output
// with --json.
func newReport(c *cli.Context) *report.Report {
	if c.Bool("json") {
		return report.New(c.App.Writer, report.JSON, time.Now)
	}
	if f, ok := c.App.ErrWriter.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return report.New(f, report.Terminal, time.Now)
	}
	return report.New(c.App.ErrWriter, report.Plain, time.Now)
}

// arguments checks the number of positional arguments.
func arguments(c *cli.Context, least, most int) error {
	switch n := c.NArg(); {
	case n < least:
		return hint.Add(hint.Usagef("%s: %s missing", commandName(c), c.Command.ArgsUsage),
			"slipway %s --help", commandName(c))
	case n > most:
		return hint.Add(hint.Usagef("%s: argument %q: not expected", commandName(c), c.Args().Get(most)),
			"slipway %s --help", commandName(c))
	}
	return nil
}

// commandName is what the user typed of the command: "payload create".
func commandName(c *cli.Context) string {
	return strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ")
}

// flagsFirst moves flags in front of positional arguments, because the flag
// parser stops at the first argument that is no flag. Everything after "--"
// stays as it is.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	head := []string{args[0]}
	rest := args[1:]
	commands := app.Commands
	var flags []cli.Flag
	for len(rest) > 0 {
		i := indexCommand(commands, rest[0])
		if i < 0 {
			break
		}
		head, rest = append(head, rest[0]), rest[1:]
		flags, commands = commands[i].Flags, commands[i].Subcommands
	}
	var options, positional []string
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		if arg == "--" {
			positional = append(positional, rest[i:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			positional = append(positional, arg)
			continue
		}
		options = append(options, arg)
		if !strings.Contains(arg, "=") && takesValue(flags, strings.TrimLeft(arg, "-")) && i+1 < len(rest) {
			i++
			options = append(options, rest[i])
		}
	}
	return append(append(head, options...), positional...)
}

func indexCommand(commands []*cli.Command, name string) int {
	for i, c := range commands {
		if c.HasName(name) {
			return i
		}
	}
	return -1
}

func takesValue(flags []cli.Flag, name string) bool {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}

// maxProblems is how many of several joined errors are shown: the first ones
// say what to mend, and a screen full of the same hides them.
const maxProblems = 5

// oneLine keeps an error on one line, whatever a library put into it.
func oneLine(s string) string {
	problems := strings.FieldsFunc(s, isLineBreak)
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(problems, "; ")
}

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }
