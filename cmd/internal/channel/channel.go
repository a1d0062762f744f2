// Package channel is the program "slipway-host channel": it shows or changes
// the channel a machine takes its updates from, GROUP in
// /etc/coreos/update.conf.
//
// It changes that one line and nothing else; the update engine reads the file
// at each check. Whether a channel exists the server knows.
package channel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"slipway/cmd/internal/durable"
	"slipway/cmd/internal/updateconf"
)

// Env is what the program sees of the world.
type Env struct {
	Name           string
	Stdout, Stderr io.Writer
	Root           string // put before all paths, "/" on a machine
}

// configPath is the file that is changed, below the root.
const configPath = "etc/coreos/update.conf"

// names are what a channel may be called: what is a directory's name and needs
// no quotes.
var names = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// Main runs the program and returns the exit code.
func Main(args []string, e Env) int {
	if len(args) > 1 || len(args) == 1 && strings.HasPrefix(args[0], "-") {
		fmt.Fprintf(e.Stderr, "usage: %s [CHANNEL]\n"+
			"Shows the channel this machine takes its updates from, or changes it.\n", e.Name)
		return 2
	}
	if len(args) == 0 {
		fmt.Fprintln(e.Stdout, updateconf.Read(os.DirFS(e.Root)).Group)
		return 0
	}
	if !names.MatchString(args[0]) {
		fmt.Fprintf(e.Stderr, "%s: channel %.80q: letters, digits, dots and dashes make a name\n"+
			"hint: %s beta\n", e.Name, args[0], e.Name)
		return 2
	}
	if err := e.change(args[0]); err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
		if errors.Is(err, fs.ErrPermission) {
			fmt.Fprintf(e.Stderr, "hint: sudo %s %s\n", e.Name, args[0])
		}
		return 1
	}
	return 0
}

// change writes the file anew with another GROUP.
func (e Env) change(channel string) error {
	name := filepath.Join(e.Root, configPath)
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.WriteFile(name, []byte(withGroup(string(text), channel)))
}

// withGroup puts the channel in the place of the last GROUP line, which is the
// one that counts, or at the end. It is pure.
func withGroup(text, channel string) string {
	line := "GROUP=" + channel
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		lines = nil
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if key, _, ok := strings.Cut(lines[i], "="); ok && strings.TrimSpace(key) == "GROUP" {
			lines[i] = line
			return strings.Join(lines, "\n") + "\n"
		}
	}
	return strings.Join(append(lines, line), "\n") + "\n"
}
