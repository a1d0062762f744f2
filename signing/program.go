package signing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"slipway/signing/key"
)

// maxAnswer bounds what a program may write, in bytes: eight times the largest
// signature.
const maxAnswer = 4096

// program is a signer's program, from a reference of the form
//
//	exec:PROGRAM?pub=FILE[&arg=ARGUMENT]...[&timeout=2m]
//
// PROGRAM without a slash is looked for in $PATH. It gets the 32 bytes of the
// digest on its standard input and writes the signature, as package
// signing/key describes it, to its standard output: raw bytes, nothing else.
// FILE is the public key in PEM. The environment tells it SLIPWAY_KEY_ID and
// SLIPWAY_ALGORITHM. A status other than 0 is a refusal, whose reason it writes
// to its standard error. As in any query, a space in an argument is %20, and
// "&", "%" and "+" are %26, %25 and %2B.
type program struct {
	path    string
	args    []string
	public  key.Key
	timeout time.Duration
}

func openProgram(ref string, o *Options) (Signer, error) {
	name, query, _ := strings.Cut(ref, "?")
	if name == "" {
		return nil, errors.New("no program; want exec:PROGRAM?pub=FILE")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	for name, list := range values {
		if name != "pub" && name != "arg" && name != "timeout" {
			return nil, fmt.Errorf("option %q is not known; want pub, arg, timeout", name)
		}
		if len(list) > 1 && name != "arg" {
			return nil, fmt.Errorf("option %q is given twice", name)
		}
	}
	if values.Get("pub") == "" {
		return nil, errors.New("no public key; want exec:PROGRAM?pub=FILE")
	}
	p := &program{args: values["arg"], timeout: patience}
	if text := values.Get("timeout"); text != "" {
		if p.timeout, err = time.ParseDuration(text); err != nil || p.timeout <= 0 {
			return nil, fmt.Errorf("time-out %q is not a time such as 90s", text)
		}
	}
	if strings.Contains(name, "/") {
		if name = o.path(name); !strings.Contains(name, "/") {
			name = "./" + name
		}
	}
	if p.path, err = exec.LookPath(name); err != nil {
		return nil, err
	}
	public, development, err := readPublic(o.path(values.Get("pub")))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", values.Get("pub"), err)
	}
	p.public = public
	return New(public, development, p.sign), nil
}

// command prepares the program.
func (p *program) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = append(os.Environ(), "SLIPWAY_KEY_ID="+p.public.ID, "SLIPWAY_ALGORITHM="+p.public.Algorithm)
	cmd.WaitDelay = 2 * time.Second // for what it started itself and left behind
	return cmd
}

func (p *program) sign(ctx context.Context, digest [32]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer within %s", p.timeout))
	defer cancel()
	stdout, stderr := &bounded{max: maxAnswer}, &bounded{max: maxAnswer, drop: true}
	cmd := p.command(ctx)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(digest[:]), stdout, stderr
	err := cmd.Run()
	switch {
	case stdout.over:
		err = fmt.Errorf("more than %d bytes of signature", maxAnswer)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("program %s: %w%s", p.path, err, said(stderr.data))
	}
	return stdout.data, nil
}

// said is what a program wrote to its standard error, on one line.
func said(stderr []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(stderr), "?")), " ")
	if text == "" {
		return ""
	}
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "..."
	}
	return ": " + text
}

// bounded keeps the first max bytes. Of more it makes an error, or drops them.
type bounded struct {
	data []byte
	max  int
	drop bool
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.max-len(b.data))
	b.data = append(b.data, p[:n]...)
	if n < len(p) && !b.drop {
		b.over = true
		return n, errors.New("too long")
	}
	return len(p), nil
}
