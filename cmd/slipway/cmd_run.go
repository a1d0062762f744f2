package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/qemu-tests/vm"
)

const runHelp = `Boots a release or an image in QEMU with its console on this terminal. The image
itself is not changed: what the machine writes is gone when it ends. End it with
"poweroff" in the machine, or with Ctrl-A and then x.

With --ssh PORT the machine's ssh answers on that port of the loopback, and the
public keys in ~/.ssh may log in as root. With --secureboot-cert the firmware
starts only what the key of that certificate signed: see slipway keys export.`

func runCommand() *cli.Command {
	return &cli.Command{
		Name:        "run",
		Usage:       "boot an image, console on this terminal",
		ArgsUsage:   "[RELEASE|IMAGE]",
		Description: runHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "uefi", Usage: "start from UEFI firmware instead of BIOS"},
			&cli.StringSliceFlag{Name: "secureboot-cert", Usage: "start from UEFI firmware with Secure Boot that trusts the " +
				"certificate in `FILE` and no other; may be repeated"},
			&cli.IntFlag{Name: "ssh", Usage: "forward `PORT` of the loopback to the machine's ssh"},
			&cli.StringFlag{Name: "accel", Value: "auto", Usage: "`ACCEL` of QEMU: auto, tcg or kvm"},
			&cli.IntFlag{Name: "memory", Value: 1024, Usage: "give the machine `MIB` of memory"},
			&cli.IntFlag{Name: "cpus", Value: 2, Usage: "give the machine `N` processors"},
			mirrorFlag(),
		},
		Action: runRun,
	}
}

func runRun(c *cli.Context) (err error) {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	asked, err := vm.ParseAccel(c.String("accel"))
	if err != nil {
		return hint.Add(hint.Usagef("run: %s", err), "--accel auto, tcg or kvm")
	}
	w, err := openWorkspace()
	if err != nil {
		return err
	}
	name := c.Args().First()
	if name == "" {
		name = filepath.Join("out", "alpha", "current")
	}
	f, _, err := openImage(name)
	if err != nil {
		return hint.Add(err, "slipway build makes an image; slipway run RELEASE boots another one")
	}
	disk, err := filepath.Abs(f.Name())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	config, err := loadConfig(w.root, "alpha", nil)
	if err != nil {
		return err
	}
	rep := newReport(c)
	packages, err := openPackages(w, c.String("mirror"), false, runtime.NumCPU(), rep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packages.Close()) }()
	tools, err := packages.tools(c.Context, "run", config)
	rep.Close()
	if err != nil {
		return err
	}
	machine := &vm.Config{
		Tools: tools, Disk: disk, Memory: c.Int("memory"), CPUs: c.Int("cpus"), Online: true,
	}
	if c.Bool("uefi") {
		machine.Firmware = vm.UEFI
	}
	if files := c.StringSlice("secureboot-cert"); len(files) > 0 {
		machine.Firmware = vm.Secure
		if machine.Vars, err = enrolledVariables(tools, files); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(machine.Vars))) }()
	}
	if port := c.Int("ssh"); port != 0 {
		if port < 1 || port > 65535 {
			return hint.Add(hint.Usagef("run: --ssh %d: no TCP port", port), "--ssh 2222")
		}
		machine.Forward = map[int]int{port: 22}
		if keys := publicKeys(); keys != "" {
			machine.Credentials = map[string]string{"ssh.authorized_keys.root": keys}
		} else {
			rep.Warn("no public keys in ~/.ssh: ssh will ask for a password that nobody has")
		}
	}
	var why string
	machine.Accel, why, err = proveAccel(c.Context, w, tools, disk, asked)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "accelerator %s: %s\n", machine.Accel, why)
	m, err := vm.New(c.Context, machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return m.Attach(c.Context, os.Stdin, c.App.Writer, c.App.ErrWriter)
}

// publicKeys joins the user's public ssh keys.
func publicKeys() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	files, _ := filepath.Glob(filepath.Join(home, ".ssh", "*.pub")) // the pattern is well formed
	var keys strings.Builder
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil {
			fmt.Fprintf(&keys, "%s\n", strings.TrimSpace(string(text)))
		}
	}
	return keys.String()
}
