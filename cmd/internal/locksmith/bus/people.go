package bus

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Tell writes a message on the terminal of everybody who is logged in, and says
// on how many.
func (b *Bus) Tell(ctx context.Context, message string) int {
	now := time.Now().Format("Mon 2006-01-02 15:04:05 MST")
	text := fmt.Sprintf("\r\n\aBroadcast message from locksmithd at %s:\r\n\r\n%s\r\n\r\n", now, message)
	count := 0
	for _, line := range b.lines(ctx) {
		if writeTerminal(filepath.Join(b.Root, "dev", line), text) {
			count++
		}
	}
	return count
}

// lines are the terminals of people who are logged in, below /dev: those that
// logind knows, and those in utmp, where remote logins are.
func (b *Bus) lines(ctx context.Context) []string {
	lines := map[string]bool{}
	for _, e := range readUtmp(filepath.Join(b.Root, utmpPath)) {
		if _, err := os.Stat(filepath.Join(b.Root, "proc", fmt.Sprint(e.pid))); err == nil {
			lines[e.line] = true
		}
	}
	for _, line := range b.sessions(ctx) {
		lines[line] = true
	}
	delete(lines, "")
	maps.DeleteFunc(lines, func(line string, _ bool) bool { return strings.Contains(line, "..") })
	return slices.Sorted(maps.Keys(lines))
}

// session is an entry of logind's list.
type session struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

// sessions are the terminals of logind's sessions of people.
func (b *Bus) sessions(ctx context.Context) []string {
	var list []session
	if b.call(ctx, login, "/org/freedesktop/login1", login+".Manager.ListSessions", nil, &list) != nil {
		return nil
	}
	var lines []string
	for _, s := range list {
		var all map[string]dbus.Variant
		err := b.call(ctx, login, s.Path, "org.freedesktop.DBus.Properties.GetAll", []any{login + ".Session"}, &all)
		class, _ := all["Class"].Value().(string)
		state, _ := all["State"].Value().(string)
		line, _ := all["TTY"].Value().(string)
		// Login prompts and the user's manager are sessions as well.
		if err == nil && strings.HasPrefix(class, "user") && state != "closing" {
			lines = append(lines, line)
		}
	}
	return lines
}

// writeTerminal writes on a terminal, unless nobody reads there.
func writeTerminal(path, text string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_ = f.SetWriteDeadline(time.Now().Add(time.Second))
	_, err = f.WriteString(text)
	return err == nil || os.IsTimeout(err) // stopped, and somebody's all the same
}
