package main

import (
	"fmt"
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
"go test -run" takes, as in TestUEFI.`

func testCommand() *cli.Command {
	return &cli.Command{
		Name:        "test",
		Usage:       "boot a channel's image in QEMU and try it",
		Description: testHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "channel", Value: "alpha", Usage: "`CHANNEL` to test: alpha, beta, stable, all or ci"},
			&cli.StringFlag{Name: "run", Usage: "only the cases whose name matches `NAME`"},
			&cli.StringFlag{Name: "accel", Value: "auto", Usage: "`ACCEL` of QEMU: auto, tcg or kvm"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if accel := c.String("accel"); !slices.Contains([]string{"auto", "tcg", "kvm"}, accel) {
				return hint.Add(hint.Usagef("test: --accel %q: unknown", accel), "--accel auto, tcg or kvm")
			}
			root, err := findRoot()
			if err != nil {
				return err
			}
			args := []string{"test", "-v", "-count=1", "-timeout=3h", "./qemu-tests"}
			if c.Bool("json") {
				args = slices.Insert(args, 1, "-json")
			}
			if name := c.String("run"); name != "" {
				args = append(args, "-run", testPattern(name))
			}
			args = append(args, "-args", "-channel="+c.String("channel"), "-accel="+c.String("accel"))
			cmd := exec.CommandContext(c.Context, "go", args...)
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			cmd.Dir, cmd.Stdout, cmd.Stderr = root, c.App.Writer, c.App.ErrWriter
			if err := cmd.Run(); err != nil {
				return hint.Add(fmt.Errorf("test: channel %s: %w", c.String("channel"), err),
					"slipway test --channel %s --run NAME repeats one case", c.String("channel"))
			}
			return nil
		},
	}
}

// testPattern makes a pattern of "go test" of the name of a case. Those of
// updates, which are the most, go by their own name.
func testPattern(name string) string {
	if strings.HasPrefix(name, "Test") || strings.ContainsAny(name, "/|^.*(") {
		return name
	}
	return "^TestUpdate$/./" + name
}
