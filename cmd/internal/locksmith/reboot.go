package locksmith

import (
	"context"
	"errors"
	"fmt"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/updateconf"
)

// reboot takes the lock and restarts the machine. If the restart is refused the
// lock is given back.
func (c *ctl) reboot(ctx context.Context, _ []string) error {
	if c.UID != 0 {
		return hint.Add(errors.New("Must be root to initiate reboot."), "sudo %s reboot", c.Name)
	}
	for _, p := range c.config.Problems {
		fmt.Fprintln(c.Stderr, p)
	}
	b, err := c.Connect(context.WithoutCancel(ctx), c.Stdout)
	if err != nil {
		return fmt.Errorf("Error initializing login connection: %w", err)
	}
	defer b.Close()
	release, err := c.lockForReboot(ctx)
	if err != nil {
		return err
	}
	if err := b.Restart(ctx, c.config.Reboot.Method); err != nil {
		return errors.Join(fmt.Errorf("Error rebooting: %w", err), release())
	}
	return nil
}

// lockForReboot takes the lock for this machine's restart, and gives what undoes
// that. A machine whose strategy does not ask for the lock goes without it where
// there is no etcd.
func (c *ctl) lockForReboot(ctx context.Context) (release func() error, err error) {
	id, _, err := c.machine(nil)
	if err != nil {
		return nil, err
	}
	l, done, err := c.store(ctx)
	if err != nil {
		if c.goesWithout(err) {
			return func() error { return nil }, nil
		}
		return nil, err
	}
	r := lock.Record{
		State: lock.Restarting, Since: c.Now().UTC(), Host: coordinator.HostName(c.Root),
		Boot: coordinator.BootID(c.Root), From: c.Running(), To: c.Next(),
	}
	limited, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	err = l.Change(limited, func(v *lock.View) error { return v.Semaphore.Lock(id, r) })
	if err != nil {
		done()
		if c.goesWithout(err) {
			return func() error { return nil }, nil
		}
		return nil, refused(c.away("Error locking", err))
	}
	if err := coordinator.Owe(c.Root); err != nil {
		fmt.Fprintf(c.Stderr, "%v: \"locksmithctl unlock\" after the restart\n", err)
	}
	return func() error {
		defer done()
		return l.Change(context.WithoutCancel(ctx), func(v *lock.View) error { return v.Release(id) })
	}, nil
}

// goesWithout says whether a machine restarts without the lock after an error,
// which it does if etcd is not there and its strategy does not insist.
func (c *ctl) goesWithout(err error) bool {
	_, full := errors.AsType[*lock.FullError](err)
	_, halted := errors.AsType[*lock.HaltedError](err)
	strategy := c.config.RebootStrategy
	insists := c.etcd.Configured || strategy == updateconf.RebootEtcdLock || strategy == updateconf.RebootOff
	if full || halted || insists {
		return false
	}
	fmt.Fprintf(c.Stderr, "no reboot lock: %v; restarting without it, as REBOOT_STRATEGY is %s\n", err, strategy)
	return true
}

func (c *ctl) sendNeedReboot(ctx context.Context, _ []string) error {
	b, err := c.Connect(context.WithoutCancel(ctx), c.Stdout)
	if err != nil {
		return fmt.Errorf("error connecting to system dbus: %w", err)
	}
	defer b.Close()
	if err := b.SendNeedReboot(ctx, moment); err != nil {
		return fmt.Errorf("error emitting signal: %w", err)
	}
	return nil
}
