// Package updateengine is the program update_engine: it asks an Omaha server
// for a newer version, installs what is offered into the other slot, and waits
// for somebody to restart the machine.
//
// When, how often and what is asked follows CoreOS's engine (update_check_
// scheduler.cc, omaha_request_action.cc); what is installed, how, and when it
// may be started is package install's. Whether a version that was started is
// any good is judged by package health; this engine reports the outcome to the
// server, remembers which version failed, and keeps from trying that again and
// again. Restarting is locksmith's.
//
// Nothing a server says is believed but what the payload's signatures vouch
// for. Whatever goes wrong, the machine stays on the version it runs, the
// journal says in one line what it was, and the server is told by an error
// code.
package updateengine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway/cmd/internal/download"
	"slipway/cmd/internal/install"
	"slipway/cmd/internal/slots"
	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateconf"
)

// Env is what the engine sees of the world.
type Env struct {
	// Log takes what is said, a line each; the journal has it.
	Log io.Writer
	// Machine is where the slots are.
	Machine slots.Machine
	// Now is the time of day.
	Now func() time.Time
	// Sleep returns early if the context ends.
	Sleep func(context.Context, time.Duration)
	// Random gives numbers from 0 to 1.
	Random func() float64
	// Client sends requests to servers; see download.NewClient.
	Client *http.Client
	// Patience is that of downloads; the zero value is the usual.
	Patience download.Patience
}

// Engine is the engine. Run does its work; the other methods may be called
// meanwhile, by any goroutine.
type Engine struct {
	*Env
	boot  *slots.Boot
	host  *host
	state *State

	// Changed, if set, is called with each new status.
	Changed func(updatebus.Status)

	wake chan struct{} // somebody asked for an update
	work sync.Mutex    // held by who uses state

	mu     sync.Mutex
	status updatebus.Status
	told   time.Time // when progress was told last
}

// Files, below the root of the machine.
const (
	statePath      = "var/lib/update_engine/state.json"
	checkpointPath = "var/lib/update_engine/checkpoint.json"
	bootIDPath     = "proc/sys/kernel/random/boot_id"
)

// noVersion is what the interface shows where there is no version.
const noVersion = "0.0.0"

// New makes the engine of a machine. One that did not start from a slot has
// none: then the error is fs.ErrNotExist.
func New(e *Env) (*Engine, error) {
	boot, err := e.Machine.Boot()
	if err != nil {
		return nil, err
	}
	g := &Engine{Env: e, boot: boot, wake: make(chan struct{}, 1)}
	if g.host, err = g.readHost(); err != nil {
		return nil, err
	}
	if g.state, err = g.loadState(); err != nil {
		g.say("%v", err)
	}
	if g.state.Aleph == "" {
		g.state.Aleph = boot.Version
	}
	g.status = updatebus.Status{
		Operation: updatebus.Idle, NewVersion: noVersion, LastChecked: g.state.LastChecked,
	}
	if i := g.state.Installed; i != nil && i.Boot == g.host.bootID {
		g.status.Operation, g.status.NewVersion, g.status.NewSize = updatebus.NeedReboot, i.Version, i.Size
	}
	return g, nil
}

func (g *Engine) path(name string) string { return filepath.Join(g.Machine.Root, name) }

func (g *Engine) root() fs.FS { return os.DirFS(g.Machine.Root) }

// say writes a line to the journal.
func (g *Engine) say(format string, args ...any) {
	fmt.Fprintln(g.Log, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// Status is what the engine is at.
func (g *Engine) Status() updatebus.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

// set changes the status and tells of it.
func (g *Engine) set(change func(*updatebus.Status)) {
	g.mu.Lock()
	change(&g.status)
	s := g.status
	g.told = g.Now()
	g.mu.Unlock()
	if g.Changed != nil {
		g.Changed(s)
	}
}

// enter changes the operation.
func (g *Engine) enter(op updatebus.Operation) {
	g.set(func(s *updatebus.Status) { s.Operation = op })
}

// Progress is told for every hundredth, or every ten seconds.
const (
	progressStep  = 0.01
	progressPause = 10 * time.Second
)

func (g *Engine) progress(done, total int64) {
	now, part := g.Now(), float64(done)/float64(total)
	g.mu.Lock()
	tell := part-g.status.Progress >= progressStep || now.Sub(g.told) >= progressPause
	g.mu.Unlock()
	if tell {
		g.set(func(s *updatebus.Status) { s.Progress = part })
	}
}

// AttemptUpdate has the engine look for an update now, whatever the schedule
// and earlier failures say.
func (g *Engine) AttemptUpdate() error {
	if c := updateconf.Read(g.root()); c.Server == "" {
		return errors.New("no SERVER in /etc/coreos/update.conf")
	} else if c.Server == updateconf.ServerDisabled {
		return errors.New("updates are turned off: SERVER=disabled in /etc/coreos/update.conf")
	}
	if ok, err := g.proven(); err != nil {
		return err
	} else if !ok {
		return install.ErrOnTrial
	}
	select {
	case g.wake <- struct{}{}:
	default: // asked already
	}
	return nil
}

// proven says whether the running version has proven itself.
func (g *Engine) proven() (bool, error) {
	d, err := g.Machine.Open(g.boot, false)
	if err != nil {
		return false, err
	}
	defer d.Close()
	p, err := d.Running(g.boot)
	return p.Attributes.Successful(), err
}
