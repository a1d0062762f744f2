package vm

import (
	"context"
	"io"
)

// Args and OverlayArgs show the command lines for a machine with its files in
// a directory.
func (c *Config) Args(dir string, interactive bool) []string {
	return c.withDefaults().args(files{dir}, interactive)
}

func (c *Config) OverlayArgs(dir string) []string { return c.overlayArgs(files{dir}) }

// Quote is how commands are shown.
var Quote = quote

// End says that QEMU has ended.
func (c *Console) End() { c.end(errGone) }

// Agent is the host's side of the agent channel.
type Agent struct{ a *agent }

func NewAgent(conn io.ReadWriteCloser) *Agent { return &Agent{newAgent(conn)} }

func (a *Agent) Ready(ctx context.Context, other string) (string, error) {
	return a.a.ready(ctx, other)
}

func (a *Agent) Run(ctx context.Context, command string) (string, int, error) {
	return a.a.run(ctx, command)
}

// Control is a QMP connection.
type Control struct{ c *control }

func NewControl(ctx context.Context, conn io.ReadWriteCloser) (*Control, error) {
	c, err := newControl(ctx, conn)
	return &Control{c}, err
}

func (c *Control) Execute(ctx context.Context, command string, result any) error {
	return c.c.execute(ctx, command, nil, result)
}

func (c *Control) Monitor(ctx context.Context, line string) error { return c.c.monitor(ctx, line) }
