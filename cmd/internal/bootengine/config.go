package bootengine

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"slipway/signing/key"
)

// The files package build/initramfs puts into the initramfs.
const (
	keyDir           = "etc/slipway/keys"
	bootIDPath       = "etc/slipway/boot-id"
	modulesOrderPath = "etc/slipway/modules.order"
	cmdlinePath      = "proc/cmdline"
	handoverPath     = "etc/slipway/handover.json" // from the kernel before a kexec
)

// How a slot is verified before it is started. dm-verity checks every block as
// it is read in any case; what is verified first can still be passed over for
// another slot.
const (
	verifyAuto = "auto" // lazy for a proven slot after an orderly shutdown, else full
	verifyFull = "full" // the footer, the hash tree and every block
	verifyLazy = "lazy" // the footer and the hash tree
)

// config is what the initramfs and the kernel's command line say.
type config struct {
	keys    []key.Key
	bootID  string   // of the running kernel and initramfs
	modules []module // in the order to load them

	slot   int    // partition number chosen before the kexec; 0: choose
	esp    string // UUID of the partition the machine was started from, if known
	disk   string // place of the disk the machine was started from, if known
	verify string

	watchdog      int  // seconds; 0: none
	watchdogAsked bool // the command line says so
	panicAsked    bool // the command line says what to do after a panic

	moduleArguments map[string]string // by module
	handover        handover

	problems []string // to be said, not worth stopping for
}

// readConfig reads the initramfs, whose root is given, with /proc mounted.
func readConfig(root fs.FS) (*config, error) {
	c := &config{verify: verifyAuto, watchdog: watchdogSeconds}
	names, err := fs.Glob(root, keyDir+"/*.pem")
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		k, err := key.Parse(text)
		if err != nil {
			c.problems = append(c.problems, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		c.keys = append(c.keys, k)
	}
	if len(c.keys) == 0 {
		return nil, fmt.Errorf("no usable key in /%s: no slot can be verified", keyDir)
	}
	id, err := fs.ReadFile(root, bootIDPath)
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	c.bootID = strings.TrimSpace(string(id))
	if b, err := hex.DecodeString(c.bootID); err != nil || len(b) != 32 {
		return nil, fmt.Errorf("boot id %.80q: not a SHA-256 in hex", c.bootID)
	}
	order, err := fs.ReadFile(root, modulesOrderPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("module list: %w", err)
	}
	c.modules = parseModules(string(order))
	cmdline, err := fs.ReadFile(root, cmdlinePath)
	if err != nil {
		return nil, fmt.Errorf("command line: %w", err)
	}
	if err := c.parseArguments(string(cmdline)); err != nil {
		return nil, err
	}
	c.moduleArguments = moduleArguments(string(cmdline))
	if c.slot != 0 {
		if c.handover, err = readHandover(root); err != nil {
			c.problems = append(c.problems, err.Error())
		}
	}
	return c, nil
}

// parseArguments takes what is ours from the kernel's command line.
func (c *config) parseArguments(cmdline string) error {
	for word := range strings.FieldsSeq(cmdline) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "slipway.slot":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 128 {
				return fmt.Errorf("argument %q: want the number of a partition", word)
			}
			c.slot = n
		case "slipway.esp":
			c.esp = strings.ToLower(value)
		case "panic":
			c.panicAsked = true
		case "slipway.disk":
			c.disk = value
		case "slipway.watchdog":
			var problem string
			if c.watchdog, problem = parseWatchdog(value); problem != "" {
				c.problems = append(c.problems, problem)
			}
			c.watchdogAsked = true
		case "slipway.verify":
			if value != verifyAuto && value != verifyFull && value != verifyLazy {
				c.problems = append(c.problems, fmt.Sprintf("argument %q: want %s, %s or %s; taking %s",
					word, verifyAuto, verifyFull, verifyLazy, verifyFull))
				value = verifyFull
			}
			c.verify = value
		}
	}
	return nil
}
