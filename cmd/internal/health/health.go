// Package health decides when a version has proven itself, and remembers why
// one did not. It is the program "slipway-host health", which a timer starts
// soon after every boot, and "slipway-host status", which shows what it knows.
//
// The policy is data of systemd: a version is healthy when boot-complete.target
// is reached and every unit it requires has stayed up for HEALTH_SETTLE. Units
// join the policy with RequiredBy=boot-complete.target in their [Install]
// section; oneshot units can be checks. A unit that the administrator masked or
// disabled is not asked for. HEALTH_TIMEOUT after the start of the kernel the
// answer is no.
//
// What follows, for the slot the machine runs from and for no other:
//
//   - healthy, on trial: successful=1 tries=0 in the partition table
//   - healthy, always: a damaged copy of the table is mended, and stage 1 on
//     the EFI system partition becomes this version's
//   - not healthy, on trial: the reason is stored and the machine restarts;
//     when its tries are spent the boot engine takes the other slot. If there
//     is no other slot it stays, and keeps a try to come back with
//   - not healthy, proven: reported, and nothing else
//
// The next boot says why a version failed, on the console, in the journal, in
// the status and to whoever logs in, also when the version never got so far as
// to run this program (see previous.go).
//
// Deciding is in plain functions (assess, next, explain); the rest is behind
// Env, so that tests need neither systemd nor a disk.
package health

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/cmd/internal/slots"
)

// Env is what the programs see of the world.
type Env struct {
	// Name is the program's name in usage texts.
	Name string
	// Stdout and Stderr take what is said; the journal has both.
	Stdout, Stderr io.Writer
	// Root is put before all paths, "/" on a machine.
	Root string
	// Now is the time of day; Uptime is CLOCK_MONOTONIC, as systemd's
	// timestamps are.
	Now    func() time.Time
	Uptime func() time.Duration
	// Sleep returns early if the context ends.
	Sleep func(context.Context, time.Duration)
	// Systemd is asked about units.
	Systemd Systemd
	// Mounted is the device beneath a path, as "rootdev -s" shows it.
	Mounted func(path string) (string, error)
}

// Files, relative to the root.
const (
	runPath    = "run/slipway/health.json"     // this boot, for status
	statePath  = "var/lib/slipway/health.json" // kept
	motdPath   = "var/lib/slipway/motd"        // a link in /usr/lib/motd.d leads here
	stagePath  = "usr/lib/slipway/boot.efi"
	bootIDPath = "proc/sys/kernel/random/boot_id"
)

func (e *Env) path(name string) string { return filepath.Join(e.Root, name) }

// machine is where the slots are.
func (e *Env) machine() slots.Machine { return slots.Machine{Root: e.Root, Mounted: e.Mounted} }

func (e *Env) root() fs.FS { return os.DirFS(e.Root) }

// bootID is the kernel's name for this boot, "" if it has none.
func (e *Env) bootID() string {
	text, err := os.ReadFile(e.path(bootIDPath))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// say writes a line to the journal.
func (e *Env) say(format string, args ...any) { fmt.Fprintf(e.Stdout, format+"\n", args...) }

// shout writes a line to the journal and to the console.
func (e *Env) shout(format string, args ...any) {
	e.say(format, args...)
	f, err := os.OpenFile(e.path("dev/console"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "slipway: "+format+"\r\n", args...)
}
