package coordinator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// The file by which a program says that it coordinates restarts, so that no two
// do, and what it is at. Shells can read it.
const (
	confPath = "run/update-engine/coordinator.conf"
	name     = "locksmithd"
)

// States of a coordinator, as CoreOS called them.
const (
	stateStarting  = "starting"
	stateDisabled  = "disabled"
	stateRunning   = "running"
	statePlanned   = "reboot-planned"
	stateRebooting = "rebooting"
)

type conf struct {
	root, strategy string

	mu   sync.Mutex
	held *os.File
}

// openConf becomes the machine's coordinator, or says that another program is:
// who coordinates holds a lock on the file.
func openConf(root, strategy string) (*conf, error) {
	c := &conf{root: root, strategy: strategy}
	path := filepath.Join(root, confPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	old, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	c.held = old
	if err := c.set(stateStarting); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another program coordinates restarts")
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (c *conf) close() { _ = c.held.Close() }

// set says what the coordinator is at. Readers see the old text or the new one,
// and the file is locked all the time.
func (c *conf) set(state string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.root, confPath)
	f, err := openLocked(path + ".new")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "NAME=%s\nSTRATEGY=%s\nSTATE=%s\n", name, c.strategy, state)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(path+".new"))
	}
	c.close()
	c.held = f
	return nil
}
