// Package fleetconf reads how fleetd is to run: fleet's fleet.conf, and FLEET_*
// in the environment, which wins. Keys, forms and defaults are those of fleet
// 1.0; those that mean nothing any more are accepted and have no effect. A line
// that makes no sense is an error: a machine that took other metadata or
// another etcd than was meant would run the wrong units.
package fleetconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Path is where fleet.conf is unless told otherwise.
const Path = "/etc/fleet/fleet.conf"

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Config is how fleetd runs.
type Config struct {
	// Verbosity above 0 logs what matters to programmers, verbosity.
	Verbosity int
	// EtcdServers are the URLs of etcd members, etcd_servers.
	EtcdServers []string
	// EtcdTimeout is for one request, etcd_request_timeout in seconds. The
	// default is less than fleetctl waits, so that fleetctl hears why.
	EtcdTimeout time.Duration
	// EtcdCAFile, EtcdCertFile and EtcdKeyFile are for TLS with etcd,
	// etcd_cafile, etcd_certfile, etcd_keyfile.
	EtcdCAFile, EtcdCertFile, EtcdKeyFile string
	// EtcdUsername and EtcdPassword are for an etcd with authentication,
	// etcd_username, etcd_password.
	EtcdUsername, EtcdPassword string
	// EtcdPrefix is where the keys begin, etcd_key_prefix.
	EtcdPrefix string
	// PublicIP is what others reach this machine by, public_ip; "" means that
	// it is found out.
	PublicIP string
	// Metadata of the machine, metadata.
	Metadata map[string]string
	// AgentTTL is how long the machine counts as present without a word of it,
	// agent_ttl.
	AgentTTL time.Duration
	// EngineInterval is how often the engine looks at the schedule at least,
	// engine_reconcile_interval in seconds.
	EngineInterval time.Duration
	// DisableEngine leaves deciding to other machines, disable_engine.
	DisableEngine bool
	// TokenLimit is how many entries the API puts on a page, token_limit.
	TokenLimit int
	// UnitsDir is for unit files, units_directory.
	UnitsDir string
	// SystemdUser makes fleetd use the user's systemd, systemd_user.
	SystemdUser bool

	// These are not fleet's. APISocket is where the API listens if systemd
	// hands no socket over, api_socket. APIListen is an address for the API
	// over TCP besides, api_listen; it needs the files of TLS, and clients need
	// certificates of the CA.
	APISocket                          string
	APIListen                          string
	APICAFile, APICertFile, APIKeyFile string
}

// Bounds of values.
const (
	minTTL, maxTTL           = 2 * time.Second, 24 * time.Hour // etcd grants none that are shorter
	minTimeout, maxTimeout   = 10 * time.Millisecond, 5 * time.Minute
	minInterval, maxInterval = 10 * time.Millisecond, time.Hour
	maxTokenLimit            = 10000
)

func defaults() *Config {
	return &Config{
		EtcdServers: []string{"http://127.0.0.1:2379"}, EtcdTimeout: 2 * time.Second,
		EtcdPrefix: "/_coreos.com/fleet/", AgentTTL: 30 * time.Second, EngineInterval: 2 * time.Second,
		TokenLimit: 100, UnitsDir: "/run/fleet/units", APISocket: "/run/fleet.sock", Metadata: map[string]string{},
	}
}

// Load reads a file and the environment. A file that does not exist says
// nothing. The environment is a list as of os.Environ.
func Load(name string, open func(string) (fs.File, error), environ []string) (*Config, error) {
	c := defaults()
	f, err := open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		err := c.read(name, f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	if err := c.readEnviron(environ); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Read reads the text of a file. The name is for errors.
func Read(name string, r io.Reader) (*Config, error) {
	c := defaults()
	if err := c.read(name, r); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func (c *Config) read(name string, r io.Reader) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxFile))
	keys := c.keys()
	for n := 1; lines.Scan(); n++ {
		if err := readLine(keys, lines.Text()); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func readLine(keys map[string]setter, line string) error {
	if !utf8.ValidString(line) {
		return errors.New("line is not UTF-8")
	}
	line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
	if line == "" || line[0] == '#' || line[0] == ';' {
		return nil
	}
	if line[0] == '[' {
		return fmt.Errorf("section %.40q: fleet.conf has no sections", line)
	}
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return fmt.Errorf("%.80q is not key=value", line)
	}
	key = strings.TrimSpace(key)
	set, ok := keys[key]
	if !ok {
		return fmt.Errorf("unknown key %.80q", key)
	}
	if err := set(unquote(strings.TrimSpace(value))); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// readEnviron takes FLEET_* in. Names that are no key's are not fleetd's.
func (c *Config) readEnviron(environ []string) error {
	keys := c.keys()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := "FLEET_" + strings.ToUpper(key)
		for _, pair := range environ {
			value, ok := strings.CutPrefix(pair, name+"=")
			if !ok || value == "" {
				continue
			}
			if err := keys[key](unquote(value)); err != nil {
				return fmt.Errorf("environment %s: %w", name, err)
			}
		}
	}
	return nil
}

// check says which settings do not go together.
func (c *Config) check() error {
	if (c.EtcdCertFile == "") != (c.EtcdKeyFile == "") {
		return errors.New("etcd_certfile and etcd_keyfile are only of use together")
	}
	if c.EtcdPassword != "" && c.EtcdUsername == "" {
		return errors.New("etcd_password needs etcd_username")
	}
	if c.APIListen != "" && (c.APICAFile == "" || c.APICertFile == "" || c.APIKeyFile == "") {
		return errors.New("api_listen needs api_cafile, api_certfile and api_keyfile: " +
			"whoever reaches the API can run anything as root")
	}
	return nil
}
