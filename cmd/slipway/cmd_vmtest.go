package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
)

const testHelp = `Builds the image of a channel and boots it in QEMU, on BIOS and UEFI firmware.
The console of a machine that misbehaves is printed, with the command that
repeats the case. QEMU and the firmware come from the tools tree.`

func testCommand() *cli.Command {
	return &cli.Command{
		Name:        "test",
		Usage:       "boot a channel's image in QEMU and try it",
		Description: testHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "channel", Value: "alpha", Usage: "`CHANNEL` to test: alpha, beta, stable or all"},
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
			args := []string{"test", "-v", "-count=1", "-timeout=60m", "./qemu-tests"}
			if c.Bool("json") {
				args = slices.Insert(args, 1, "-json")
			}
			if name := c.String("run"); name != "" {
				args = append(args, "-run", name)
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
