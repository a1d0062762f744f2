package fleetctl

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// options are the flags of all commands.
type options struct {
	debug, version  bool
	driver          string
	endpoint        string
	requestTimeout  float64 // seconds
	keyFile         string
	certFile        string
	caFile          string
	tunnel          string
	knownHosts      string
	strictHostKeys  bool
	sshTimeout      float64 // seconds
	sshUser         string
	full, noLegend  bool
	noBlock         bool
	replace         bool
	sign            bool
	blockAttempts   int
	fields          string
	sshPort         int
	lines           int
	follow, sudo    bool
	output          string
	machine, onUnit string
	forwardAgent    bool
}

const (
	defaultEndpoint   = "unix:///var/run/fleet.sock"
	defaultKnownHosts = "~/.fleetctl/known_hosts"
)

// globalFlags declares the flags that every command has.
func (s *session) globalFlags() *flag.FlagSet {
	f := flag.NewFlagSet("fleetctl", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	o := &s.options
	f.BoolVar(&o.debug, "debug", false, "Print out more debug information to stderr")
	f.BoolVar(&o.version, "version", false, "Print the version and exit")
	f.StringVar(&o.driver, "driver", "API",
		"Adapter used to execute fleetctl commands. The only one is \"API\".")
	f.StringVar(&o.endpoint, "endpoint", defaultEndpoint,
		"Location of the fleet API: unix:///PATH, http://HOST:PORT or https://HOST:PORT")
	f.Float64Var(&o.requestTimeout, "request-timeout", 3,
		"Amount of time in seconds to allow a single request before considering it failed.")
	f.StringVar(&o.keyFile, "key-file", "",
		"Location of TLS key file used to secure communication with the fleet API")
	f.StringVar(&o.certFile, "cert-file", "",
		"Location of TLS cert file used to secure communication with the fleet API")
	f.StringVar(&o.caFile, "ca-file", "",
		"Location of TLS CA file used to secure communication with the fleet API")
	f.StringVar(&o.tunnel, "tunnel", "",
		"Establish an SSH tunnel through the provided address for communication with fleet.")
	f.StringVar(&o.knownHosts, "known-hosts-file", defaultKnownHosts,
		"File used to store remote machine fingerprints. Ignored if strict host key checking is "+
			"disabled.")
	f.BoolVar(&o.strictHostKeys, "strict-host-key-checking", true,
		"Verify host keys presented by remote machines before initiating SSH connections.")
	f.Float64Var(&o.sshTimeout, "ssh-timeout", 10,
		"Amount of time in seconds to allow for SSH connection initialization before failing.")
	f.StringVar(&o.sshUser, "ssh-username", "core", "Username to use when connecting to a machine.")
	return f
}

// fromEnv sets flags from FLEETCTL_*: those given as arguments come later.
func (s *session) fromEnv(f *flag.FlagSet) (err error) {
	f.VisitAll(func(fl *flag.Flag) {
		key := "FLEETCTL_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		if value := s.Getenv(key); value != "" && err == nil {
			if e := f.Set(fl.Name, value); e != nil {
				err = fmt.Errorf("invalid value %q for %s: %w", value, key, e)
			}
		}
	})
	return err
}

// parseCommand parses the arguments of a command, in which global flags can
// stand too, and returns those that are no flags. Global flags that came before
// the command count.
func (s *session) parseCommand(global *flag.FlagSet, args []string) ([]string, error) {
	before := map[string]string{}
	global.Visit(func(f *flag.Flag) { before[f.Name] = f.Value.String() })
	flags := s.globalFlags()
	if s.command.flags != nil {
		s.command.flags(flags, &s.options)
	}
	for name, value := range before {
		if err := flags.Set(name, value); err != nil {
			return nil, err
		}
	}
	return parse(flags, args, s.command.trailing)
}

// parse parses flags wherever they stand and returns the other arguments. With
// stop everything after the first of those is left alone.
func parse(f *flag.FlagSet, args []string, stop bool) (rest []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		consumed := len(args) - f.NArg()
		if f.NArg() == 0 {
			return rest, nil
		}
		if stop || consumed > 0 && args[consumed-1] == "--" {
			return append(rest, f.Args()...), nil
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
}

// path replaces "~" by the user's directory.
func (s *session) path(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok && s.Home != "" {
		return filepath.Join(s.Home, rest)
	}
	return name
}

func listFlags(fields, valid string) func(*flag.FlagSet, *options) {
	return func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.full, "full", false, "Do not ellipsize fields on output")
		f.BoolVar(&o.full, "l", false, "Shorthand for --full")
		f.BoolVar(&o.noLegend, "no-legend", false, "Do not print a legend (column headers)")
		f.StringVar(&o.fields, "fields", fields, "Columns to print. Valid fields are "+valid)
	}
}

func blockFlags(f *flag.FlagSet, o *options) {
	f.IntVar(&o.blockAttempts, "block-attempts", 0,
		"Wait until the units have changed, performing up to N attempts of 2 seconds before giving "+
			"up. A value of 0 indicates no limit. Does not apply to global units.")
	f.BoolVar(&o.noBlock, "no-block", false,
		"Do not wait until the units have changed before exiting. Always the case for global "+
			"units.")
}

func createFlags(f *flag.FlagSet, o *options) {
	f.BoolVar(&o.replace, "replace", false, "Replace the units in the cluster with new versions.")
	f.BoolVar(&o.sign, "sign", false, "DEPRECATED - this option cannot be used")
}

func createAndBlockFlags(f *flag.FlagSet, o *options) {
	createFlags(f, o)
	blockFlags(f, o)
}

func sshPortFlag(f *flag.FlagSet, o *options) {
	f.IntVar(&o.sshPort, "ssh-port", 22, "Connect to remote hosts over SSH using this TCP port.")
}

func restartFlags(f *flag.FlagSet, o *options) {
	blockFlags(f, o)
	sshPortFlag(f, o)
}

func journalFlags(f *flag.FlagSet, o *options) {
	sshPortFlag(f, o)
	f.IntVar(&o.lines, "lines", 10, "Number of recent log lines to return")
	f.BoolVar(&o.follow, "follow", false,
		"Continuously print new entries as they are appended to the journal.")
	f.BoolVar(&o.follow, "f", false, "Shorthand for --follow")
	f.BoolVar(&o.sudo, "sudo", false, "Execute journal command with sudo")
	f.StringVar(&o.output, "output", "short",
		"Output mode. This will be passed unaltered to journalctl on the machine, and hence "+
			"supports the same modes as that command.")
}

func sshFlags(f *flag.FlagSet, o *options) {
	sshPortFlag(f, o)
	f.StringVar(&o.machine, "machine", "", "Open SSH connection to a specific machine.")
	f.StringVar(&o.onUnit, "unit", "", "Open SSH connection to machine running provided unit.")
	f.BoolVar(&o.forwardAgent, "forward-agent", false, "Forward local ssh-agent to target machine.")
	f.BoolVar(&o.forwardAgent, "A", false, "Shorthand for --forward-agent")
}
