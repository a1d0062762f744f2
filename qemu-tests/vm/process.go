package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one life of QEMU.
type process struct {
	exited  chan struct{} // closed when QEMU has ended and err is set
	drained chan struct{} // closed after that, when the console has all of it
	err     error
	cancel  context.CancelCauseFunc
	stderr  bytes.Buffer
	cpu     time.Duration // set when QEMU has ended
	pid     int
	control *control
	agent   *agent
}

// start runs QEMU from a thread of its own: the kernel kills a child when the
// thread that started it ends, and Go's threads come and go.
func (p *process) start(cmd *exec.Cmd) error {
	cmd.Stderr = &p.stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			p.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			p.cancel(errGone)
			close(p.exited)
		}
	}()
	return <-started
}

// ticks is the unit of times in /proc, USER_HZ: the same on every machine with
// Linux that Go runs on.
const ticks = time.Second / 100

// cpuSoFar is the processor time of QEMU, which runs.
func (p *process) cpuSoFar() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0 // it has just ended
	}
	// The name in parentheses may have spaces; proc_pid_stat(5).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * ticks
}

// explain adds how QEMU, which has ended, did so, and what it wrote to its
// standard error.
func (p *process) explain(err error) error {
	if p.err != nil && !errors.Is(err, p.err) {
		err = fmt.Errorf("%w: %w", err, p.err)
	}
	if said := strings.TrimSpace(p.stderr.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// explainGone is explain for an error of a channel, which may be any other.
func (p *process) explainGone(err error) error {
	if !errors.Is(err, errGone) {
		return err
	}
	// A channel ends only with QEMU, but it may be noticed earlier.
	<-p.exited
	return p.explain(err)
}

// connect takes QEMU's connections of all channels.
func (v *VM) connect(ctx context.Context, p *process, channels map[string]net.Listener) error {
	conns := map[string]net.Conn{}
	for channel, l := range channels {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		conn, err := l.Accept()
		if stop(); err != nil {
			for _, c := range conns {
				c.Close()
			}
			return context.Cause(ctx)
		}
		conns[channel] = conn
	}
	log, err := os.OpenFile(v.files.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return err
	}
	v.console.begin()
	go func() {
		defer log.Close()
		err := v.console.copyFrom(conns[channelConsole], log)
		<-p.exited
		v.console.end(p.explain(cmp.Or(err, errGone)))
		for _, conn := range conns {
			conn.Close()
		}
		close(p.drained)
	}()
	p.agent = newAgent(conns[channelAgent])
	p.control, err = newControl(ctx, conns[channelControl])
	return err
}
