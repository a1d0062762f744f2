package vm_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

func TestExpectFollowsTheGuest(t *testing.T) {
	c := vm.NewConsole(nil)
	fmt.Fprint(c, "slot 3\r\nlogin: slot 4\r\n")
	slot := regexp.MustCompile(`slot (\d)\n`)
	for _, want := range []string{"3", "4"} {
		match, err := c.Expect(t.Context(), slot)
		require.NoError(t, err)
		assert.Equal(t, []string{"slot " + want + "\n", want}, match)
	}
}

func TestExpectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, done := vm.NewConsole(nil), make(chan error)
		go func() {
			_, err := c.Expect(t.Context(), regexp.MustCompile("login:"))
			done <- err
		}()
		for _, part := range []string{"lo", "gin", ": "} {
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatal("ended early", err)
			default:
			}
			fmt.Fprint(c, part)
		}
		assert.NoError(t, <-done)
	})
}

func TestExpectEndsWithTheContext(t *testing.T) {
	c := vm.NewConsole(nil)
	for i := range 100 {
		fmt.Fprintf(c, "line %d\r\n", i)
	}
	fmt.Fprint(c, "\x1b[0;1;38:5:185mred\x1b[0m \x1b[!p\x1bP+q6E\x1b\\\a")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too slow"))
	_, err := c.Expect(ctx, regexp.MustCompile("no such"))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	assert.Equal(t, `console: no match for "no such": too slow`, lines[0])
	assert.Equal(t, "  | line 71", lines[1])
	assert.Equal(t, "  | red ", lines[len(lines)-1])
}

func TestExpectEndsWithQEMU(t *testing.T) {
	c := vm.NewConsole(nil)
	fmt.Fprint(c, "panic\n")
	c.End()
	_, err := c.Expect(t.Context(), regexp.MustCompile("panic"))
	assert.NoError(t, err, "what was written before is still found")
	_, err = c.Expect(t.Context(), regexp.MustCompile("login"))
	assert.EqualError(t, err, "console: no match for \"login\": QEMU has ended\n  | panic")
}

func TestLinesAreLogged(t *testing.T) {
	var got []string
	c := vm.NewConsole(func(line string) { got = append(got, line) })
	fmt.Fprint(c, "one\r\ntw")
	fmt.Fprint(c, "o\r\nthr")
	assert.Equal(t, []string{"one", "two"}, got)
	assert.Equal(t, "one\ntwo\nthr", c.Text())
}
