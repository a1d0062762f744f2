// Package vm runs a disk image in QEMU for tests: power on and off, the serial
// console, commands in the guest, and snapshots of the whole machine.
//
// The image is never written to, and it needs nothing in it for the tests:
// commands go over a virtio-serial port to an agent that systemd in the guest
// is given as a credential by the machine's SMBIOS tables.
//
// The package knows nothing of what the image should do. Waiting is always for
// an event, until the caller's context ends, and never for a time.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"time"
)

// VM is one machine. Its disk lives from New to Close, over any number of
// times that it is started. Methods are not for concurrent use, except Run and
// Console.
type VM struct {
	config  *Config
	files   files
	console *Console
	process *process // nil while the machine is off
	cpu     time.Duration
}

// New makes a machine that is off: a directory for its files and an overlay
// over the disk. Close removes them.
func New(ctx context.Context, c *Config) (*VM, error) {
	c = c.withDefaults()
	dir, err := os.MkdirTemp("", "slipway-vm-")
	if err != nil {
		return nil, err
	}
	v := &VM{config: c, files: files{dir}, console: NewConsole(c.Log)}
	if n := len(v.files.socket(channelConsole)); n > maxSocketPath {
		return nil, errors.Join(v.Close(), fmt.Errorf(
			"socket %s: path is %d bytes, sockets allow %d", v.files.socket(channelConsole), n, maxSocketPath))
	}
	if c.Disk != "" {
		err = v.tool(ctx, "qemu-img", c.overlayArgs(v.files))
	}
	if err == nil && c.LogWrites {
		err = os.WriteFile(v.files.writeLog(), nil, 0o600)
	}
	if err == nil && c.Firmware != BIOS {
		err = v.tool(ctx, "qemu-img", c.varsArgs(v.files))
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// tool runs one of QEMU's tools for disk images.
func (v *VM) tool(ctx context.Context, program string, args []string) error {
	cmd := v.config.Tools.Command(ctx, program, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// Console is the machine's serial console, over all its lives.
func (v *VM) Console() *Console { return v.console }

// Overlay is the disk as the guest changed it, a qcow2 image over the original.
func (v *VM) Overlay() string { return v.files.overlay() }

// Reproduce is a command for a shell that runs the same machine with its
// console on the terminal, for as long as the machine's files are there.
func (v *VM) Reproduce() string {
	return quote(v.config.Tools.Command(context.Background(),
		"qemu-system-x86_64", v.config.args(v.files, true)...).Args)
}

// Start switches the machine on and returns when QEMU runs. The machine is
// killed when ctx ends, when this process ends, or by PowerCut.
func (v *VM) Start(ctx context.Context) error {
	if v.Running() {
		return errors.New("VM: already started")
	}
	channels := map[string]net.Listener{}
	for _, channel := range []string{channelConsole, channelControl, channelAgent} {
		l, err := net.Listen("unix", v.files.socket(channel))
		if err != nil {
			return err
		}
		defer l.Close()
		channels[channel] = l
	}
	life, cancel := context.WithCancelCause(ctx)
	p := &process{exited: make(chan struct{}), drained: make(chan struct{}), cancel: cancel}
	cmd := v.config.Tools.Command(life, "qemu-system-x86_64", v.config.args(v.files, false)...)
	if err := p.start(cmd); err != nil {
		cancel(err)
		return fmt.Errorf("QEMU: %w", err)
	}
	if err := v.connect(life, p, channels); err != nil {
		cancel(err)
		<-p.exited
		return p.explain(err)
	}
	v.process = p
	return nil
}

var errOff = errors.New("VM: is off")

// Running says whether QEMU runs.
func (v *VM) Running() bool {
	if v.process == nil {
		return false
	}
	select {
	case <-v.process.exited:
		return false
	default:
		return true
	}
}

// Expect waits for text on the console: see Console.Expect.
func (v *VM) Expect(ctx context.Context, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return v.console.Expect(ctx, re)
}

// Ready waits until commands can be run, which is early in the guest's boot.
func (v *VM) Ready(ctx context.Context) error {
	if v.process == nil {
		return errOff
	}
	if _, err := v.process.agent.ready(ctx, ""); err != nil {
		return fmt.Errorf("%w\n%s", v.process.explainGone(err), v.console.Tail())
	}
	return nil
}

// Run runs a command with bash in the guest as root and returns what it wrote
// to standard output and standard error, and its exit code. It waits for the
// guest's boot to come that far. Commands run one after the other; one whose
// context ends goes on running in the guest.
func (v *VM) Run(ctx context.Context, command string) (output string, code int, err error) {
	if v.process == nil {
		return "", 0, errOff
	}
	output, code, err = v.process.agent.run(ctx, command)
	return output, code, v.process.explainGone(err)
}

// Reboot has the guest restart in order, and waits until its agent is back.
func (v *VM) Reboot(ctx context.Context) error {
	return v.restart(ctx, func() error {
		_, _, err := v.process.agent.run(ctx, "systemctl reboot --no-block")
		return err
	})
}

// Reset restarts the machine at once, as its reset button does, and waits
// until the agent is back.
func (v *VM) Reset(ctx context.Context) error {
	return v.restart(ctx, func() error {
		return v.process.control.execute(ctx, "system_reset", nil, nil)
	})
}

func (v *VM) restart(ctx context.Context, trigger func() error) error {
	if v.process == nil {
		return errOff
	}
	boot, err := v.process.agent.ready(ctx, "")
	if err != nil {
		return err
	}
	if err := trigger(); err != nil && !errors.Is(err, errRestarted) {
		return err
	}
	if _, err := v.process.agent.ready(ctx, boot); err != nil {
		return fmt.Errorf("%w\n%s", v.process.explainGone(err), v.console.Tail())
	}
	return nil
}

// Shutdown has the guest switch itself off in order and waits for it.
func (v *VM) Shutdown(ctx context.Context) error {
	if v.process == nil {
		return errOff
	}
	_, _, err := v.process.agent.run(ctx, "systemctl poweroff --no-block")
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	return v.Wait(ctx)
}

// Wait waits until the guest has switched itself off, and fails if QEMU ended
// in another way.
func (v *VM) Wait(ctx context.Context) error {
	if v.process == nil {
		return errOff
	}
	p := v.process
	select {
	case <-p.drained:
	case <-ctx.Done():
		return fmt.Errorf("VM: still on: %w\n%s", context.Cause(ctx), v.console.Tail())
	}
	v.process = nil
	v.cpu += p.cpu
	if p.err != nil {
		return p.explain(fmt.Errorf("QEMU: %w", p.err))
	}
	return nil
}

// PowerCut ends the machine at once, in the middle of whatever it does. What
// the guest had given to its disk is kept, whether it had flushed or not.
func (v *VM) PowerCut() {
	if v.process == nil {
		return
	}
	v.process.cancel(errGone)
	<-v.process.drained
	v.cpu += v.process.cpu
	v.process = nil
}

// CPUTime is the processor time that QEMU took in all lives so far: what a boot
// costs, whatever else the host does.
func (v *VM) CPUTime() time.Duration {
	if v.Running() {
		return v.cpu + v.process.cpuSoFar()
	}
	return v.cpu
}

// Snapshot keeps the state of the running machine, memory and disk, under a
// name, and Restore goes back to it. A VM that is off has nothing to keep.
func (v *VM) Snapshot(ctx context.Context, name string) error {
	return v.monitor(ctx, "savevm "+name)
}

// Restore puts the running machine back to where Snapshot was.
func (v *VM) Restore(ctx context.Context, name string) error {
	return v.monitor(ctx, "loadvm "+name)
}

func (v *VM) monitor(ctx context.Context, line string) error {
	if v.process == nil {
		return errOff
	}
	return v.process.control.monitor(ctx, line)
}

// Close ends the machine and removes its files.
func (v *VM) Close() error {
	v.PowerCut()
	return os.RemoveAll(v.files.dir)
}
