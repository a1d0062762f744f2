// Package coordinator decides when a machine restarts into an update, as
// CoreOS's locksmithd did: it hears from the update engine that a restart is
// needed, waits for the reboot window, takes the lock of package lock if the
// machines of a group take turns, gives people who are logged in five minutes,
// and restarts.
//
// The machine keeps the lock over its restart, and gives it back when it is
// healthy, which package health judges, on the version it meant to start. One
// that came back otherwise keeps the lock and says why, which stops the others
// from following. Nobody has the lock while its window is closed, but to
// restart.
//
// What happens to the machine is behind Env; a test needs no bus, no etcd and no
// time.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/updateconf"
)

const (
	// loginDelay is what people who are logged in get to leave.
	loginDelay = 5 * time.Minute
	// shortDelay is the least they get when the window closes.
	shortDelay = time.Minute
	// After an error, it is tried again after firstPause, then after twice that
	// and so on.
	firstPause = 5 * time.Second
	longPause  = 5 * time.Minute
	// longSleep bounds a wait for the wall clock, which somebody may set.
	longSleep = 15 * time.Minute
	// spread is over how long machines that wait for the same event act at most.
	spread = time.Second
	// windowSpread is the same for the opening of a window.
	windowSpread = 5 * time.Minute
	// restartLimit is how long a machine takes to go down at most.
	restartLimit = 15 * time.Minute
	// presenceTTL is how long after its end a machine still counts as there.
	presenceTTL = time.Minute
	// goodbye is how long giving the lock back may take when the program ends.
	goodbye = 5 * time.Second
)

// Status is what the update engine says.
type Status struct {
	NeedReboot bool
	Version    string // the new one, "" if it does not say
	// Forced says that a person asked, not the engine.
	Forced bool
}

// Lock is the lock of the machine's group: see lock.Store.
type Lock interface {
	View(ctx context.Context, also ...string) (*lock.View, error)
	Change(ctx context.Context, change func(*lock.View) error) error
	Lock(ctx context.Context, id string, r lock.Record, gone func(*lock.View) []string) ([]string, error)
	Wait(ctx context.Context, since *lock.View) error
	Attend(ctx context.Context, id string, ttl time.Duration, updates <-chan lock.Presence, ready func()) error
}

// Env is what the coordinator sees of the world.
type Env struct {
	Stdout io.Writer // the journal has it
	Root   string    // put before all paths, "/" on a machine
	Now    func() time.Time
	Config *updateconf.Config
	// Random is at least 0 and less than most.
	Random func(most time.Duration) time.Duration
	// OpenLock finds the lock, for machines that take turns. done ends its use.
	OpenLock func(updateconf.Etcd) (l Lock, done func(), err error)
	// Health calls judged with what is known of this boot's health now and
	// whenever that changes, and returns as Follow does.
	Health func(ctx context.Context, judged func(*health.Report)) error
	// Follow calls said with the update engine's status now and whenever it
	// changes, and once listening, when it misses nothing from then on. It returns
	// when ctx ends or nothing can be heard any more.
	Follow func(ctx context.Context, listening func(), said func(Status)) error
	// Ready is called when the coordinator does its work.
	Ready func()
	// EtcdRuns says whether this machine runs etcd.
	EtcdRuns func(ctx context.Context) bool
	// Tell shows a message to everybody who is logged in, and says how many
	// terminals took it.
	Tell func(ctx context.Context, message string) int
	// Restart has the machine go down in order, and returns before it does.
	Restart func(ctx context.Context, method string) error
}

// coordinator is one run of locksmithd.
type coordinator struct {
	*Env
	id, boot, host string
	conf           *conf
	lock           Lock // nil: machines do not take turns

	health *latest[*health.Report]
	status *latest[Status]
	there  *latest[bool] // the presence is in etcd

	heldBy string // who has the lock, as last said
}

// errDone ends the parts of the coordinator.
var errDone = errors.New("done")

// Run coordinates until ctx ends, which is no error, or something is wrong that
// starting again might mend. It returns nil if the strategy is off and nothing
// is left to do.
func Run(ctx context.Context, e *Env) error {
	for _, p := range e.Config.Problems {
		e.say("%s", p)
	}
	c, err := open(e)
	if err != nil {
		return err
	}
	defer c.conf.close()
	err = c.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open reads what a coordinator is told once.
func open(e *Env) (*coordinator, error) {
	c := &coordinator{
		Env: e, health: newLatest[*health.Report](), status: newLatest[Status](), there: newLatest[bool](),
	}
	var err error
	if c.id, err = MachineID(e.Root); err != nil {
		return nil, err
	}
	c.boot = BootID(e.Root)
	c.host = HostName(e.Root)
	c.conf, err = openConf(e.Root, e.Config.RebootStrategy)
	return c, err
}

// MachineID reads the id by which a machine has the lock, below a root.
func MachineID(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "etc/machine-id"))
	id := strings.TrimSpace(string(text))
	if err == nil && len(id) != 32 {
		err = fmt.Errorf("%.40q in /etc/machine-id: want 32 hexadecimal digits", id)
	}
	if err != nil {
		return "", fmt.Errorf("machine id: %w", err)
	}
	return id, nil
}

// BootID is the kernel's name for this boot, "" if it has none.
func BootID(root string) string { return line(root, "proc/sys/kernel/random/boot_id") }

// HostName is what people call the machine.
func HostName(root string) string { return line(root, "proc/sys/kernel/hostname") }

func line(root, name string) string {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// run starts the parts: what is heard, what is shown, and what is done about it.
func (c *coordinator) run(ctx context.Context) error {
	off := c.Config.RebootStrategy == updateconf.RebootOff
	if off {
		c.say("reboot strategy is off: this machine does not restart by itself")
		c.note(stateDisabled)
	} else {
		c.say("reboot strategy %s, reboot window %s", c.Config.RebootStrategy, c.windowText())
	}
	turns := c.takesTurns(ctx)
	if turns {
		l, done, err := c.OpenLock(c.Config.Reboot.Etcd)
		if err != nil {
			return err
		}
		defer done()
		c.lock = l
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel(errDone)
	part := func(run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	part(func(ctx context.Context) error { return c.Health(ctx, c.health.set) })
	if off {
		c.Ready()
		if err := c.payDebt(ctx); ctx.Err() == nil {
			return err
		}
		return context.Cause(ctx)
	}
	part(func(ctx context.Context) error { return c.Follow(ctx, c.listening, c.heard) })
	if turns {
		part(c.attend)
	} else {
		part(c.payDebt)
	}
	part(c.coordinate)
	<-ctx.Done()
	return context.Cause(ctx)
}

// takesTurns says whether the machine takes the lock before it restarts.
func (c *coordinator) takesTurns(ctx context.Context) bool {
	switch c.Config.RebootStrategy {
	case updateconf.RebootEtcdLock:
		return true
	case updateconf.RebootBestEffort:
		if c.Config.Reboot.Etcd.Configured || c.EtcdRuns(ctx) {
			c.say("taking turns by the lock in etcd")
			return true
		}
		c.say("no etcd here and no LOCKSMITHD_ENDPOINT: not taking turns")
	}
	return false
}

// listening says that the coordinator is at work.
func (c *coordinator) listening() {
	c.note(stateRunning)
	c.Ready()
}

// heard takes a status of the update engine. What a person asked for stays.
func (c *coordinator) heard(s Status) {
	if old := c.status.now(); old.Forced && !s.NeedReboot {
		return
	}
	c.status.set(s)
}

// say writes a line to the journal.
func (c *coordinator) say(format string, args ...any) { c.Env.say(format, args...) }

func (e *Env) say(format string, args ...any) { fmt.Fprintf(e.Stdout, format+"\n", args...) }

func (c *coordinator) windowText() string {
	w := c.Config.Reboot.Window
	if w == nil {
		return "always"
	}
	text := w.String()
	if s, ok := w.At(c.Now()); ok {
		text += fmt.Sprintf(" (next %s to %s)", s.Start.Format("Mon 2006-01-02 15:04"), s.End.Format("Mon 15:04"))
	}
	return text
}
