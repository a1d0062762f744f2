package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// agentPort is the name of the virtio-serial port the agent listens on.
const agentPort = "slipway.test"

// agentScript is the guest's side of the channel, in bash. It reads lines
// "NUMBER COMMAND", COMMAND as inOneWord writes it, and answers "NUMBER OUTPUT",
// OUTPUT in base64; the last line of the output is the exit code. It finds its
// port without udev, so that it also serves a boot that goes wrong, and starts as
// few programs as it can: under emulation each takes a tenth of a second.
const agentScript = `
for name in /sys/class/virtio-ports/*/name; do
	read -r port < "$name"
	if [ "$port" = ` + agentPort + ` ]; then
		name=${name%/name}
		exec 5<> "/dev/${name##*/}"
	fi
done
read -r boot < /proc/sys/kernel/random/boot_id
printf 'ready %s\n' "$boot" >&5
while read -r -u 5 number command; do
	printf -v command %b "$command"
	output=$({
		(eval "$command") </dev/null 2>&1 5>&-
		printf '\n%d' $?
	} | base64 -w0)
	printf '%s %s\n' "$number" "$output" >&5
done
`

// agentUnit runs the script.
const agentUnit = "slipway-test.service"

// agentCredentials has systemd (256 or newer) run the script from early in
// the boot on, in an image that knows nothing of it: systemd-debug-generator(8),
// "System credentials".
func agentCredentials(only bool) map[string]string {
	script := base64.StdEncoding.EncodeToString([]byte(agentScript))
	credentials := map[string]string{
		"systemd.extra-unit." + agentUnit: `[Unit]
Description=Agent of the Slipway tests
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/usr/bin/bash -c 'eval "$$(echo ` + script + ` | base64 -d)"'
OOMScoreAdjust=-1000
`,
		"systemd.unit-dropin.sysinit.target": "[Unit]\nWants=" + agentUnit + "\n",
	}
	if only {
		credentials["systemd.extra-unit.default.target"] = "[Unit]\nWants=" + agentUnit + "\n"
	}
	return credentials
}

// errRestarted is what a command gets that the guest forgot by restarting.
var errRestarted = errors.New("the guest restarted")

// agent is the host's side of the channel.
type agent struct {
	conn io.ReadWriteCloser

	mu      sync.Mutex
	boot    string // the guest's boot id, "" before it says that it is ready
	next    int
	waiting map[int]chan answer
	closed  error
	change  chan struct{} // closed and replaced when boot or closed changed
}

type answer struct {
	output string
	code   int
	err    error
}

func newAgent(conn io.ReadWriteCloser) *agent {
	a := &agent{conn: conn, waiting: map[int]chan answer{}, change: make(chan struct{})}
	go a.read()
	return a
}

func (a *agent) read() {
	lines := bufio.NewReader(a.conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		a.mu.Lock()
		if word == "ready" {
			a.fail(errRestarted)
			a.boot = rest
			a.wake()
		} else if number, err := strconv.Atoi(word); err == nil && a.waiting[number] != nil {
			a.waiting[number] <- decodeAnswer(rest)
			delete(a.waiting, number)
		}
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = errGone
	a.fail(errGone)
	a.wake()
}

func (a *agent) fail(err error) {
	for number, waiting := range a.waiting {
		waiting <- answer{err: err}
		delete(a.waiting, number)
	}
}

func (a *agent) wake() {
	close(a.change)
	a.change = make(chan struct{})
}

// decodeAnswer takes base64 of the output, a newline and the exit code.
func decodeAnswer(text string) answer {
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return answer{err: fmt.Errorf("agent: answer: %w", err)}
	}
	at := bytes.LastIndexByte(decoded, '\n')
	if at < 0 {
		return answer{err: errors.New("agent: answer has no exit code")}
	}
	code, err := strconv.Atoi(string(decoded[at+1:]))
	if err != nil {
		return answer{err: fmt.Errorf("agent: exit code: %w", err)}
	}
	return answer{output: string(decoded[:at]), code: code}
}

// ready waits until the agent of another boot than the given one has started
// and returns its boot id; "" takes any boot.
func (a *agent) ready(ctx context.Context, other string) (string, error) {
	for {
		a.mu.Lock()
		boot, closed, change := a.boot, a.closed, a.change
		a.mu.Unlock()
		if closed != nil {
			return "", fmt.Errorf("agent: %w", closed)
		}
		if boot != "" && boot != other {
			return boot, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return "", fmt.Errorf("agent: not ready: %w", context.Cause(ctx))
		}
	}
}

// inOneWord writes a command without spaces and newlines, for bash's "printf %b"
// to take back.
func inOneWord(command string) string {
	var b strings.Builder
	for _, c := range []byte(command) {
		if strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// run has the guest's bash run a command and returns its output, standard
// error included, and exit code.
func (a *agent) run(ctx context.Context, command string) (string, int, error) {
	if _, err := a.ready(ctx, ""); err != nil {
		return "", 0, err
	}
	waiting := make(chan answer, 1)
	a.mu.Lock()
	a.next++
	number := a.next
	a.waiting[number] = waiting
	a.mu.Unlock()
	line := fmt.Sprintf("%d %s\n", number, inOneWord(command))
	if _, err := io.WriteString(a.conn, line); err != nil {
		return "", 0, fmt.Errorf("agent: %w", err)
	}
	select {
	case got := <-waiting:
		return got.output, got.code, got.err
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.waiting, number)
		a.mu.Unlock()
		return "", 0, fmt.Errorf("agent: %q: %w", command, context.Cause(ctx))
	}
}
