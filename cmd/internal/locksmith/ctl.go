package locksmith

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/updateconf"
)

const (
	// commandLimit is how long a command may wait for etcd.
	commandLimit = 20 * time.Second
	knockLimit   = 5 * time.Second
	// moment is how long send-need-reboot stays to be asked who it is.
	moment = time.Second
)

// command is one of locksmithctl's.
type command struct {
	name, arguments, summary, text string
	most                           int // arguments it takes
	run                            func(*ctl, context.Context, []string) error
}

// commands are those there are, in the order of the help.
func commands() []command {
	return []command{
		{"help", "[COMMAND]", "Show a list of commands or help for one command", "", 1, nil},
		{"lock", "[MACHINE-ID]", "Lock this machine or a given machine-id for reboot.",
			"Others wait until it is unlocked. Under normal operation this should not be necessary.", 1, (*ctl).lock},
		{"reboot", "", "Reboot honoring reboot locks.",
			"Takes the reboot lock and restarts the machine by REBOOT_METHOD of update.conf, or fails if\n" +
				"others have the lock. locksmithd gives it back when the machine is healthy again.\n" +
				"A machine whose REBOOT_STRATEGY is reboot or best-effort goes without where there is no etcd.",
			0, (*ctl).reboot},
		{"send-need-reboot", "", "send a 'need reboot' signal over dbus.",
			"Says in the update engine's place that a restart is needed, to try locksmithd.", 0,
			(*ctl).sendNeedReboot},
		{"set-max", "NUMBER", "Set the maximum number of lock holders",
			"Who has the lock keeps it. With 0 nobody gets it any more.", 1, (*ctl).setMax},
		{"status", "[--json]", "Get the status of the cluster wide reboot lock.",
			"Shows how many may take the lock still, and who has it: since when, whether the machine is\n" +
				"there, and what it has the lock for.", 1, (*ctl).status},
		{"unlock", "[MACHINE-ID]", "Unlock this machine or a given machine-id for reboot.",
			"For a machine that does not come back, or that failed and holds up the others.", 1, (*ctl).unlock},
	}
}

// ctl is one run of locksmithctl.
type ctl struct {
	*Env
	config *updateconf.Config
	etcd   updateconf.Etcd
	flags  *flag.FlagSet
}

// Ctl is the program locksmithctl. It returns the exit code.
func Ctl(ctx context.Context, args []string, e *Env) int {
	c := &ctl{Env: e, config: updateconf.Read(os.DirFS(e.Root))}
	var s settings
	var err error
	if c.flags, err = e.flags("LOCKSMITHCTL", c.config, &s); err != nil {
		return e.fail(err)
	}
	switch err := c.flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case s.version:
		fmt.Fprintf(e.Stdout, "%s version %s\n", e.Name, e.version())
		return 0
	}
	c.etcd = s.etcd
	args = c.flags.Args()
	if len(args) == 0 {
		args = []string{"help"}
	}
	return c.main(ctx, args[0], args[1:])
}

func (c *ctl) main(ctx context.Context, name string, args []string) int {
	if name == "help" && len(args) < 2 {
		return c.help(args)
	}
	i := slices.IndexFunc(commands(), func(cmd command) bool { return cmd.name == name })
	if i < 0 {
		fmt.Fprintf(c.Stderr, "%s: unknown subcommand: %q\nRun '%s help' for usage.\n", c.Name, name, c.Name)
		return 2
	}
	cmd := commands()[i]
	if len(args) > cmd.most {
		fmt.Fprintf(c.Stderr, "%s %s: takes %d arguments, got %d\nRun '%s help %s' for usage.\n",
			c.Name, name, cmd.most, len(args), c.Name, name)
		return 2
	}
	err := cmd.run(c, ctx, args)
	if err == nil {
		return 0
	}
	if text, ok := errors.AsType[*hint.Usage](err); ok {
		fmt.Fprintln(c.Stderr, text)
		return 2
	}
	fmt.Fprintln(c.Stderr, err)
	if h := hint.Of(err); h != "" {
		fmt.Fprintln(c.Stderr, "hint: "+h)
	}
	return 1
}

// store connects to etcd and gives the lock, and what ends that.
func (c *ctl) store(ctx context.Context) (coordinator.Lock, func(), error) {
	l, done, err := openLock(c.etcd)
	if err == nil {
		if err = knock(ctx, c.etcd.Endpoints); err != nil {
			done()
			err = hint.Add(err, "is etcd running? %s", whereEtcd)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("Error initializing etcd client: %w", err)
	}
	return l, done, nil
}

const whereEtcd = "-endpoint, LOCKSMITHCTL_ENDPOINT, " +
	"or LOCKSMITHD_ENDPOINT in /etc/coreos/update.conf say where it is"

// knock finds out soon whether anybody listens where etcd should: its client
// would go on trying.
func knock(ctx context.Context, endpoints []string) error {
	var errs []error
	for _, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			return err
		}
		dialer := net.Dialer{Timeout: knockLimit}
		conn, err := dialer.DialContext(ctx, "tcp", u.Host)
		if err == nil {
			return conn.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// away says that etcd does not answer, with CoreOS's words in front.
func (c *ctl) away(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("etcd at %s does not answer", strings.Join(c.etcd.Endpoints, ","))
		return hint.Add(fmt.Errorf("%s: %w", what, err), "has it lost its quorum? %s", whereEtcd)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// machine is the id a command is about: the argument or this machine's.
func (c *ctl) machine(args []string) (id string, own bool, err error) {
	id, err = coordinator.MachineID(c.Root)
	if len(args) > 0 {
		return args[0], args[0] == id, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("Cannot read machine-id: %w", err)
	}
	return id, true, nil
}

func (c *ctl) lock(ctx context.Context, args []string) error {
	id, own, err := c.machine(args)
	if err != nil {
		return err
	}
	r := lock.Record{State: lock.Manual, Since: c.Now().UTC()}
	if own {
		r.Host, r.Boot = coordinator.HostName(c.Root), coordinator.BootID(c.Root)
	}
	return c.change(ctx, "Error locking", func(v *lock.View) error {
		if _, held := v.Holder(id); held {
			return nil // what it has the lock for stays
		}
		return v.Semaphore.Lock(id, r)
	})
}

func (c *ctl) unlock(ctx context.Context, args []string) error {
	id, _, err := c.machine(args)
	if err != nil {
		return err
	}
	return c.change(ctx, "Error unlocking", func(v *lock.View) error { return v.Unlock(id) })
}

func (c *ctl) setMax(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return hint.Usagef("New maximum value must be set.")
	}
	most, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || most < 0 {
		return hint.Usagef("Invalid maximum value: %s", args[0])
	}
	old := 0
	err = c.change(ctx, "Error setting value", func(v *lock.View) error {
		old, v.Max = v.Max, int(most)
		return nil
	})
	if err == nil {
		fmt.Fprintf(c.Stdout, "Old: %d\nNew: %d\n", old, most)
	}
	return err
}

// change makes a change to the lock; what goes in front of errors.
func (c *ctl) change(ctx context.Context, what string, change func(*lock.View) error) error {
	l, done, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	if err := l.Change(ctx, change); err != nil {
		return refused(c.away(what, err))
	}
	return nil
}

// refused says what helps somebody who does not get the lock.
func refused(err error) error {
	halted, isHalted := errors.AsType[*lock.HaltedError](err)
	_, isFull := errors.AsType[*lock.FullError](err)
	switch {
	case isHalted:
		return hint.Add(err, "\"locksmithctl unlock %s\" lets the others go on", halted.Holder)
	case isFull, errors.Is(err, lock.ErrNotHolder):
		return hint.Add(err, "\"locksmithctl status\" shows who has the lock")
	}
	return err
}
