package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
)

const testHelp = `Builds the image of a channel and boots it in QEMU, on BIOS and UEFI firmware,
uses it, damages it, and updates it to newer versions that are good or bad in
every way there is a case for. The console of a machine that misbehaves is
printed, with the command that repeats the case. QEMU and the firmware come
from the tools tree.

--channel all runs every case on every channel; ci every case on alpha and, on
beta and stable, those that a channel's own image could fail, as "go test" does.
--run takes the name of a case, as in good-slot or never-healthy, or what
"go test -run" takes, as in TestUEFI.

With RELEASE, that release is tested as it lies there, and the results, good and
bad, are added to its evidence.json, signed by a key that signs releases, which
is named as for slipway build; slipway promote wants them. --record adds results
of tests made elsewhere: a FILE with the lines of "go test -json", of which
{"Action": "pass", "Test": "NAME"} is the least, or "fail" or "skip".
The tests build newer versions for the machine to update to, and sign them by
the same keys: those of a release have to be here for that, or the tests are run
where they are.`

func testCommand() *cli.Command {
	return &cli.Command{
		Name:        "test",
		Usage:       "boot a channel's image in QEMU and try it",
		ArgsUsage:   "[RELEASE]",
		Description: testHelp,
		Flags: append(signFlags(),
			&cli.StringFlag{Name: "channel", Value: "alpha", Usage: "`CHANNEL` to test: alpha, beta, stable, all or ci"},
			&cli.StringFlag{Name: "run", Usage: "only the cases whose name matches `NAME`"},
			&cli.StringFlag{Name: "accel", Value: "auto", Usage: "`ACCEL` of QEMU: auto, tcg or kvm"},
			&cli.StringFlag{Name: "record", Usage: "run nothing, add the results in `FILE` to the evidence of RELEASE"},
			&cli.StringFlag{Name: "by", Value: "slipway test", Usage: "say in the evidence that `NAME` ran the tests"},
			pubFlag(), jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			dir := c.Args().First()
			switch accel := c.String("accel"); {
			case !slices.Contains([]string{"auto", "tcg", "kvm"}, accel):
				return hint.Add(hint.Usagef("test: --accel %q: unknown", accel), "--accel auto, tcg or kvm")
			case dir != "" && c.IsSet("channel"):
				return hint.Add(hint.Usagef("test: --channel: a release has its own"), "leave --channel out")
			case dir == "" && c.IsSet("record"):
				return hint.Add(hint.Usagef("test: --record: of which release?"), "slipway test RELEASE --record FILE")
			case c.IsSet("record") && c.IsSet("run"):
				return hint.Add(hint.Usagef("test: --record runs nothing"), "leave --run out")
			}
			if dir != "" {
				return testRelease(c, dir)
			}
			if err := runTests(c, []string{"-channel=" + c.String("channel")}, c.App.Writer, c.Bool("json")); err != nil {
				return hint.Add(fmt.Errorf("test: channel %s: %w", c.String("channel"), err),
					"slipway test --channel %s --run NAME repeats one case", c.String("channel"))
			}
			return nil
		},
	}
}

// runTests runs the tests of machines on what subject says, in flags of theirs.
// Their output goes to out, as JSON or as text.
func runTests(c *cli.Context, subject []string, out io.Writer, events bool) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	args := []string{"test", "-v", "-count=1", "-timeout=3h", "./qemu-tests"}
	if events {
		args = slices.Insert(args, 1, "-json")
	}
	if name := c.String("run"); name != "" {
		args = append(args, "-run", testPattern(name))
	}
	args = append(append(args, "-args", "-accel="+c.String("accel")), subject...)
	cmd := exec.CommandContext(c.Context, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, out, c.App.ErrWriter
	return cmd.Run()
}

// testPattern makes a pattern of "go test" of the name of a case. Those of
// updates, which are the most, go by their own name.
func testPattern(name string) string {
	if strings.HasPrefix(name, "Test") || strings.ContainsAny(name, "/|^.*(") {
		return name
	}
	return "^TestUpdate$/./" + name
}
