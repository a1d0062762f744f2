package vm_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// guest is the far end of an agent channel, played by the test.
type guest struct {
	net.Conn
	lines *bufio.Reader
}

func newGuest(t *testing.T) (*vm.Agent, *guest) {
	host, conn := net.Pipe()
	t.Cleanup(func() { conn.Close() })
	return vm.NewAgent(host), &guest{conn, bufio.NewReader(conn)}
}

// request returns the number and the command of the next line.
func (g *guest) request() (number, command string) {
	line, _ := g.lines.ReadString('\n')
	number, encoded, _ := strings.Cut(strings.TrimSpace(line), " ")
	decoded, _ := exec.Command("bash", "-c", `printf %b "$1"`, "bash", encoded).Output()
	return number, string(decoded)
}

func (g *guest) answer(number, text string) {
	fmt.Fprintf(g, "%s %s\n", number, base64.StdEncoding.EncodeToString([]byte(text)))
}

func TestAgentRunsCommands(t *testing.T) {
	agent, guest := newGuest(t)
	go func() {
		fmt.Fprint(guest, "ready boot-1\n")
		number, command := guest.request()
		guest.answer("99", "not asked\n0")
		guest.answer(number, "ran "+command+"\n\n3")
	}()
	const command = "ls -l\necho '\\x41\\c%s' \"$x\" é2 "
	output, code, err := agent.Run(t.Context(), command)
	require.NoError(t, err)
	assert.Equal(t, "ran "+command+"\n", output)
	assert.Equal(t, 3, code)
}

func TestAgentNoticesRestarts(t *testing.T) {
	agent, guest := newGuest(t)
	go func() {
		fmt.Fprint(guest, "ready boot-1\n")
		guest.request()
		fmt.Fprint(guest, "ready boot-2\n")
	}()
	_, _, err := agent.Run(t.Context(), "systemctl reboot")
	assert.EqualError(t, err, "the guest restarted")
	boot, err := agent.Ready(t.Context(), "boot-1")
	require.NoError(t, err)
	assert.Equal(t, "boot-2", boot)
}

func TestAgentErrors(t *testing.T) {
	for answer, want := range map[string]string{
		"no code":  "agent: answer has no exit code",
		"text\nxy": `agent: exit code: strconv.Atoi: parsing "xy": invalid syntax`,
	} {
		agent, guest := newGuest(t)
		go func() {
			fmt.Fprint(guest, "ready boot-1\n")
			number, _ := guest.request()
			guest.answer(number, answer)
		}()
		_, _, err := agent.Run(t.Context(), "true")
		assert.EqualError(t, err, want)
	}
	agent, guest := newGuest(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := agent.Ready(cancelled, "")
	assert.EqualError(t, err, "agent: not ready: context canceled")
	guest.Close()
	_, _, err = agent.Run(t.Context(), "true")
	assert.EqualError(t, err, "agent: QEMU has ended")
}

func FuzzAgent(f *testing.F) {
	f.Add("ready x\n1 Cg==\n")
	f.Add("1 AAAA\n-1 \n x\n")
	f.Fuzz(func(t *testing.T, text string) {
		agent, guest := newGuest(t)
		go func() {
			fmt.Fprint(guest, "ready boot\n")
			guest.request()
			fmt.Fprint(guest, text)
			guest.Close()
		}()
		_, _, _ = agent.Run(t.Context(), "true")
	})
}

func TestControl(t *testing.T) {
	host, qemu := net.Pipe()
	go func() {
		fmt.Fprintln(qemu, `{"QMP": {"version": {}}}`)
		requests := json.NewDecoder(qemu)
		for {
			var request struct {
				Execute   string
				ID        int
				Arguments map[string]string
			}
			if requests.Decode(&request) != nil {
				return
			}
			fmt.Fprintln(qemu, `{"event": "RESUME"}`)
			switch {
			case request.Execute == "query-status":
				fmt.Fprintf(qemu, `{"id": %d, "return": {"status": "running"}}`+"\n", request.ID)
			case request.Execute == "quit":
				qemu.Close()
			case request.Arguments["command-line"] == "loadvm x":
				fmt.Fprintf(qemu, `{"id": %d, "return": "Error: no x\r\n"}`+"\n", request.ID)
			case request.Execute == "bad":
				fmt.Fprintf(qemu, `{"id": %d, "error": {"class": "CommandNotFound", "desc": "no bad"}}`+"\n", request.ID)
			default:
				fmt.Fprintf(qemu, `{"id": %d, "return": {}}`+"\n", request.ID)
			}
		}
	}()
	c, err := vm.NewControl(t.Context(), host)
	require.NoError(t, err)
	var status struct{ Status string }
	require.NoError(t, c.Execute(t.Context(), "query-status", &status))
	assert.Equal(t, "running", status.Status)
	assert.EqualError(t, c.Execute(t.Context(), "bad", nil), "QMP bad: CommandNotFound: no bad")
	assert.EqualError(t, c.Monitor(t.Context(), "loadvm x"), "QEMU loadvm x: Error: no x")
	assert.EqualError(t, c.Execute(t.Context(), "quit", nil), "QMP quit: QEMU has ended")
}
