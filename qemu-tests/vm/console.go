package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// maxTail is how many lines of the console an error shows.
const maxTail = 30

// Console collects what the guest writes to its serial port. It is an
// io.Writer for the side that has the bytes.
type Console struct {
	mu     sync.Mutex
	text   []byte        // without carriage returns
	seen   int           // where the next Expect starts
	ended  error         // set once nothing more can come
	change chan struct{} // closed and replaced when something came
	line   func(string)
	logged int // up to where line was called
}

// NewConsole returns an empty console. line is called for every complete line,
// if not nil.
func NewConsole(line func(string)) *Console {
	return &Console{change: make(chan struct{}), line: line}
}

// Write adds output of the guest. It never fails.
func (c *Console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, bytes.ReplaceAll(b, []byte{'\r'}, nil)...)
	for c.line != nil {
		n := bytes.IndexByte(c.text[c.logged:], '\n')
		if n < 0 {
			break
		}
		c.line(printable(c.text[c.logged : c.logged+n]))
		c.logged += n + 1
	}
	c.wake()
	return len(b), nil
}

// end says that nothing more comes, and why; begin takes that back.
func (c *Console) end(err error) { c.setEnd(err) }
func (c *Console) begin()        { c.setEnd(nil) }

func (c *Console) setEnd(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	c.wake()
}

func (c *Console) wake() {
	close(c.change)
	c.change = make(chan struct{})
}

// Text returns everything the guest wrote so far.
func (c *Console) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// Expect waits until the guest writes something that matches, and returns the
// match and its groups. It looks at what came after the last match, so calls
// in a row follow the guest; what it has to look at stays if it does not match.
// Lines end with \n. The error shows the console's last lines.
func (c *Console) Expect(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		match, change, ended := c.match(re)
		if match != nil {
			return match, nil
		}
		if ended == nil {
			select {
			case <-change:
				continue
			case <-ctx.Done():
				ended = context.Cause(ctx)
			}
		}
		return nil, fmt.Errorf("console: no match for %q: %w\n%s", re, ended, c.Tail())
	}
}

func (c *Console) match(re *regexp.Regexp) ([]string, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := re.FindSubmatchIndex(c.text[c.seen:])
	if at == nil {
		return nil, c.change, c.ended
	}
	match := make([]string, len(at)/2)
	for i := range match {
		if start, end := at[2*i], at[2*i+1]; start >= 0 {
			match[i] = string(c.text[c.seen+start : c.seen+end])
		}
	}
	c.seen += at[1]
	return match, c.change, nil
}

// Tail returns the console's last lines, each behind a bar, without control
// characters.
func (c *Console) Tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.TrimRight(printable(c.text), "\n"), "\n")
	if len(lines) > maxTail {
		lines = lines[len(lines)-maxTail:]
	}
	return "  | " + strings.Join(lines, "\n  | ")
}

// escapes are the escape sequences of terminals: ECMA-48, 5.4 (CSI) and
// 8.3.89 (device control strings), and those of two characters.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|P[^\x1b]*\x1b\\|[^\[P])`)

// printable drops escape sequences and control characters.
func printable(b []byte) string {
	b = escapes.ReplaceAll(b, nil)
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, string(b))
}

// copyFrom feeds the console and a log until the guest's side closes.
func (c *Console) copyFrom(r io.Reader, log io.Writer) error {
	_, err := io.Copy(io.MultiWriter(log, c), r)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
