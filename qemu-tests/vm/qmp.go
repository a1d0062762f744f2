package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// control speaks QMP, QEMU's machine protocol (qemu.org, "QEMU Machine
// Protocol"): one JSON document per line, answers carry the id of the command.
type control struct {
	conn io.ReadWriteCloser

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	closed  error
}

type reply struct {
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Text  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

var errGone = errors.New("QEMU has ended")

// newControl starts reading and leaves QEMU's negotiation mode.
func newControl(ctx context.Context, conn io.ReadWriteCloser) (*control, error) {
	c := &control{conn: conn, waiting: map[int]chan reply{}}
	go c.read()
	return c, c.execute(ctx, "qmp_capabilities", nil, nil)
}

func (c *control) read() {
	lines := bufio.NewReader(c.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var r reply
		if json.Unmarshal(line, &r) != nil || r.ID == nil {
			continue // the greeting, or an event nobody waits for
		}
		c.mu.Lock()
		if answer, ok := c.waiting[*r.ID]; ok {
			delete(c.waiting, *r.ID)
			answer <- r
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = errGone
	for _, answer := range c.waiting {
		close(answer)
	}
}

// execute runs one command and decodes what it returns into result, if given.
func (c *control) execute(ctx context.Context, command string, arguments, result any) error {
	answer, err := c.send(command, arguments)
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("QMP %s: %w", command, errGone)
		case r.Error != nil:
			return fmt.Errorf("QMP %s: %s: %s", command, r.Error.Class, r.Error.Text)
		case result != nil:
			return json.Unmarshal(r.Return, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, context.Cause(ctx))
	}
}

func (c *control) send(command string, arguments any) (<-chan reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return nil, c.closed
	}
	c.next++
	request := map[string]any{"execute": command, "id": c.next}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer := make(chan reply, 1)
	c.waiting[c.next] = answer
	_, err = c.conn.Write(append(line, '\n'))
	return answer, err
}

// monitor runs a command of the human monitor, which answers errors as text.
func (c *control) monitor(ctx context.Context, line string) error {
	var text string
	arguments := map[string]string{"command-line": line}
	if err := c.execute(ctx, "human-monitor-command", arguments, &text); err != nil {
		return err
	}
	if text = strings.TrimSpace(text); text != "" {
		return fmt.Errorf("QEMU %s: %s", line, text)
	}
	return nil
}
