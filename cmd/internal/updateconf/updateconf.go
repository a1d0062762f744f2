// Package updateconf reads update.conf, in which a machine says how it takes
// updates and when a version counts as healthy: /etc/coreos/update.conf over
// /oem/update.conf, which says the channel a disk was made for, over
// /usr/share/coreos/update.conf. It is the file that CoreOS's update_engine and
// locksmith read. A setting of one file hides that of the next, one by one.
//
// The format is that of a systemd environment file in its simple form: lines
// KEY=VALUE, quotes around a value are taken off, # and ; start a comment
// line. Reading never fails: a machine with a mistyped line must still update
// and heal itself. What is wrong is reported as Problems, and the default
// holds. The package does not write the files and does not act on them.
package updateconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Paths are the files, the one that wins first, relative to the root.
func Paths() []string {
	return []string{"etc/coreos/update.conf", "oem/update.conf", "usr/share/coreos/update.conf"}
}

// Reboot strategies, values of REBOOT_STRATEGY.
const (
	RebootAtOnce     = "reboot"
	RebootEtcdLock   = "etcd-lock"
	RebootBestEffort = "best-effort" // etcd-lock if etcd runs, else reboot
	RebootOff        = "off"
)

// ServerDisabled is the value of SERVER that turns updates off.
const ServerDisabled = "disabled"

const (
	defaultSettle  = 45 * time.Second // as CoreOS's update_engine
	defaultTimeout = 10 * time.Minute
	// One start more than CoreOS gave: a power cut during the first must not
	// cost a good version its place.
	defaultTries = 2
	// The longest that is taken for a wish.
	maxDuration = 24 * time.Hour
	maxAge      = 10 * 365 * 24 * time.Hour

	maxLine = 64 << 10
	maxFile = 1 << 20
)

// Config is what the files say, with defaults filled in.
type Config struct {
	// Group is the channel, GROUP.
	Group string
	// Server is the address of the update server, SERVER; "" if none is set,
	// ServerDisabled if updates are turned off.
	Server string
	// RebootStrategy is one of the constants above, REBOOT_STRATEGY.
	RebootStrategy string
	// HealthSettle is how long everything that a version must bring up has to
	// stay up before the version counts as healthy, HEALTH_SETTLE.
	HealthSettle time.Duration
	// HealthTimeout is how long after its start a version that is on trial may
	// take for that, HEALTH_TIMEOUT. It is longer than HealthSettle.
	HealthTimeout time.Duration
	// UpdateTries is how many starts a new version has to prove itself,
	// UPDATE_TRIES, 1 to 15.
	UpdateTries int
	// Downgrade takes versions older than the running one from the server,
	// ALLOW_DOWNGRADE=yes; never ones below the floor that a version has set.
	Downgrade bool
	// UpdateMaxAge is how old the running version may become before a server
	// that has nothing newer is taken for one that keeps something back,
	// UPDATE_MAX_AGE; 0 is for ever.
	UpdateMaxAge time.Duration
	// MachineAlias is a name of the machine for the server's page, MACHINE_ALIAS.
	MachineAlias string
	// Reboot is how the machine restarts into an update.
	Reboot Reboot

	// Problems are lines that were passed over, in the order of the files.
	Problems []Problem
}

// Problem is a line that makes no sense.
type Problem struct {
	Path string // of the file, with a leading slash
	Line int    // from 1; 0 is the file as a whole
	Text string
}

// String is "/etc/coreos/update.conf:3: ...".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.Path + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text)
}

// value is a setting and where it was found.
type value struct {
	text string
	path string
	line int
}

// Read reads the files below a root. A file that does not exist says nothing.
func Read(root fs.FS) *Config { return ReadOver(root, nil) }

// ReadOver reads the files below a root with some settings in front of them: the
// environment of a program, whose settings win.
func ReadOver(root fs.FS, environment map[string]string) *Config {
	c := &Config{}
	settings := map[string]value{}
	for key, text := range environment {
		if slices.Contains(known(), key) && text != "" {
			settings[key] = value{text: text, path: "environment"}
		}
	}
	for _, path := range Paths() {
		for key, v := range c.readFile(root, path) {
			if _, hidden := settings[key]; !hidden && v.text != "" {
				settings[key] = v
			}
		}
	}
	c.Group = settings["GROUP"].text
	c.Server = settings["SERVER"].text
	c.RebootStrategy = c.choice(settings["REBOOT_STRATEGY"], RebootAtOnce,
		RebootEtcdLock, RebootBestEffort, RebootOff)
	c.HealthSettle = c.duration(settings["HEALTH_SETTLE"], defaultSettle)
	c.HealthTimeout = c.duration(settings["HEALTH_TIMEOUT"], defaultTimeout)
	c.UpdateTries = c.number(settings["UPDATE_TRIES"], defaultTries, 1, 15)
	c.Downgrade = c.choice(settings["ALLOW_DOWNGRADE"], "no", "yes") == "yes"
	c.UpdateMaxAge = c.span(settings["UPDATE_MAX_AGE"], 0, maxAge)
	c.MachineAlias = settings["MACHINE_ALIAS"].text
	c.readReboot(settings)
	if c.HealthTimeout <= c.HealthSettle {
		timeout := c.HealthSettle + defaultTimeout
		v := settings["HEALTH_TIMEOUT"]
		if v.text == "" {
			v = settings["HEALTH_SETTLE"]
		}
		c.problem(v.path, v.line, "HEALTH_TIMEOUT %s is not longer than HEALTH_SETTLE %s; taking %s",
			c.HealthTimeout, c.HealthSettle, timeout)
		c.HealthTimeout = timeout
	}
	return c
}

func (c *Config) problem(path string, line int, format string, args ...any) {
	c.Problems = append(c.Problems, Problem{path, line, fmt.Sprintf(format, args...)})
}

// readFile gives the settings of one file; the last of equal keys counts.
func (c *Config) readFile(root fs.FS, name string) map[string]value {
	path := "/" + name
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		c.problem(path, 0, "%v", cause(err))
		return nil
	}
	defer f.Close()
	settings := map[string]value{}
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, text, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		switch {
		case !ok:
			c.problem(path, n, "%.80q is not KEY=VALUE", line)
		case !slices.Contains(known(), key):
			c.problem(path, n, "unknown key %.80q", key)
		default:
			settings[key] = value{unquote(strings.TrimSpace(text)), path, n}
		}
	}
	if err := lines.Err(); err != nil {
		c.problem(path, n+1, "%v", cause(err))
	}
	return settings
}

// known lists the keys that mean something here, or meant something on CoreOS
// and are left alone.
func known() []string {
	return []string{
		"GROUP", "SERVER", "REBOOT_STRATEGY", "HEALTH_SETTLE", "HEALTH_TIMEOUT",
		"UPDATE_TRIES", "UPDATE_MAX_AGE", "ALLOW_DOWNGRADE",
		"LOCKSMITHD_REBOOT_WINDOW_START", "LOCKSMITHD_REBOOT_WINDOW_LENGTH",
		"REBOOT_WINDOW_START", "REBOOT_WINDOW_LENGTH", "LOCKSMITHD_HOLDER_TIMEOUT",
		"LOCKSMITHD_ENDPOINT", "LOCKSMITHD_GROUP", "LOCKSMITHD_ETCD_CAFILE",
		"LOCKSMITHD_ETCD_CERTFILE", "LOCKSMITHD_ETCD_KEYFILE",
		"LOCKSMITHD_ETCD_USERNAME", "LOCKSMITHD_ETCD_PASSWORD",
		"MACHINE_ALIAS", "DOWNLOAD_USER", "DOWNLOAD_PASSWORD", "PCR_POLICY_SERVER",
		"REBOOT_METHOD",
	}
}

// unquote takes one pair of quotes off.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// choice takes one of the options; the first is the default.
func (c *Config) choice(v value, options ...string) string {
	switch {
	case v.text == "":
		return options[0]
	case slices.Contains(options, v.text):
		return v.text
	}
	c.problem(v.path, v.line, "%.80q is not one of %s; taking %s", v.text, strings.Join(options, ", "), options[0])
	return options[0]
}

// number takes a whole number within limits.
func (c *Config) number(v value, standard, lowest, highest int) int {
	if v.text == "" {
		return standard
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < lowest || n > highest {
		c.problem(v.path, v.line, "%.80q is not a number from %d to %d; taking %d", v.text, lowest, highest, standard)
		return standard
	}
	return n
}

// duration takes "45s", "10min", "1h 30min" or a bare number of seconds.
func (c *Config) duration(v value, standard time.Duration) time.Duration {
	return c.span(v, standard, maxDuration)
}

// span is duration with another limit.
func (c *Config) span(v value, standard, limit time.Duration) time.Duration {
	if v.text == "" {
		return standard
	}
	d, err := parseDuration(v.text, limit)
	if err != nil {
		c.problem(v.path, v.line, "%v; taking %s", err, standard)
		return standard
	}
	return d
}

// cause is an error without the operation and path that everybody knows.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
