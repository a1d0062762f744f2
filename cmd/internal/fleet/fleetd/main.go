package fleetd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/google/uuid"

	"slipway/cmd/internal/fleet/agent"
	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/fleetconf"
	"slipway/cmd/internal/fleet/registry"
)

// Env is what the program sees of the world.
type Env struct {
	Stdout, Stderr io.Writer
	Environ        []string
	// MachineID and BootID are files that name the machine and the boot.
	MachineID, BootID string
	// Systemd makes the service manager; nil takes systemd on D-Bus.
	Systemd func(ctx context.Context) agent.Systemd
	Now     func() time.Time
}

// Host is the Env of a real machine.
func Host() *Env {
	return &Env{
		Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		MachineID: "/etc/machine-id", BootID: "/proc/sys/kernel/random/boot_id", Now: time.Now,
	}
}

const usage = `usage: fleetd [--config FILE]                  run until stopped; units keep running
       fleetd [--config FILE] drain [--timeout 60s]   hand this machine's units to others
       fleetd [--config FILE] undrain                 take units again
       fleetd --version
`

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, e *Env) int {
	flags := flag.NewFlagSet("fleetd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config := flags.String("config", fleetconf.Path, "")
	version := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(e.Stdout, usage)
		return 0
	} else if err != nil {
		return e.usage(err)
	}
	if *version {
		fmt.Fprintf(e.Stdout, "fleetd version %s\n", api.Version)
		return 0
	}
	c, err := fleetconf.Load(*config, func(name string) (fs.File, error) { return os.Open(name) }, e.Environ)
	if err != nil {
		fmt.Fprintf(e.Stderr, "fleetd: %v\n", err)
		return 1
	}
	switch flags.Arg(0) {
	case "":
		err = e.run(ctx, c)
	case "drain":
		return e.drain(ctx, c, flags.Args()[1:])
	case "undrain":
		_, err = localClient(c).Drain(ctx, false)
	default:
		return e.usage(fmt.Errorf("unknown command %q", flags.Arg(0)))
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "fleetd: %v\n", err)
		return 1
	}
	return 0
}

func (e *Env) usage(err error) int {
	fmt.Fprintf(e.Stderr, "fleetd: %v\n%s", err, usage)
	return 2
}

// run is the daemon: it opens what it needs, answers the API and runs the node
// until the context ends.
func (e *Env) run(ctx context.Context, c *fleetconf.Config) error {
	level := slog.LevelInfo
	if c.Verbosity > 0 {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(e.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
	machine, err := e.machine(c)
	if err != nil {
		return err
	}
	listeners, err := listen(c)
	if err != nil {
		return err
	}
	client, err := Connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	node, err := NewNode(ctx, &Options{
		Client: client, Prefix: c.EtcdPrefix, Timeout: c.EtcdTimeout, Machine: *machine, TTL: c.AgentTTL,
		Interval: c.EngineInterval, DisableEngine: c.DisableEngine, UnitsDir: c.UnitsDir,
		Systemd: e.systemd(ctx, c), Now: e.Now, Log: log,
	})
	if err != nil {
		return err
	}
	stop := serve(listeners, &api.Server{
		Store: node.Registry, Drainer: node, TokenLimit: uint16(c.TokenLimit), NewUID: uuid.NewString, Now: e.Now, Log: log,
	}, log)
	defer stop()
	log.Info("fleetd runs", "machine", machine.ID, "ip", machine.PublicIP, "etcd", strings.Join(c.EtcdServers, ","))
	// Without systemd nobody asked, and nothing is sent.
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	node.Run(ctx)
	return nil
}

// withoutTime leaves the time to the journal.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func (e *Env) systemd(ctx context.Context, c *fleetconf.Config) agent.Systemd {
	switch {
	case e.Systemd != nil:
		return e.Systemd(ctx)
	case c.SystemdUser:
		return agent.NewDBus(ctx, dbus.NewUserConnectionContext)
	}
	return agent.NewDBus(ctx, dbus.NewSystemConnectionContext)
}

func (e *Env) machine(c *fleetconf.Config) (*registry.Machine, error) {
	id, err := readID(e.MachineID)
	if err != nil {
		return nil, err
	}
	boot, err := readID(e.BootID)
	if err != nil {
		return nil, err
	}
	m := &registry.Machine{ID: id, PublicIP: c.PublicIP, Metadata: c.Metadata, Version: api.Version, Boot: boot}
	if m.PublicIP == "" {
		m.PublicIP = publicIP(c.EtcdServers)
	}
	return m, nil
}

// readID reads a file with an id in it.
func readID(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if len(id) < 32 || strings.Trim(id, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("%s: %.80q is not an id", name, id)
	}
	return id, nil
}

// serve answers the API until the function it returns is called.
func serve(listeners []net.Listener, s *api.Server, log *slog.Logger) (stop func()) {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	for _, l := range listeners {
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				log.Error("API is not served", "address", l.Addr().String(), "error", err)
			}
		}()
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			server.Close()
		}
	}
}

func localClient(c *fleetconf.Config) *api.Client {
	return &api.Client{URL: "http://domain-sock", HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.APISocket)
		},
	}}}
}

// drain hands the units of this machine to others and waits until they are
// gone, within bounds: a machine that has to restart does so in the end.
func (e *Env) drain(ctx context.Context, c *fleetconf.Config, args []string) int {
	flags := flag.NewFlagSet("drain", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	timeout := flags.Duration("timeout", time.Minute, "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return e.usage(errors.Join(err, errors.New("drain takes no argument")))
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client := localClient(c)
	d, err := client.Drain(ctx, true)
	for err == nil && (!d.Draining || len(d.Left) > 0) {
		select {
		case <-ctx.Done():
			fmt.Fprintf(e.Stderr, "fleetd: drain: units are still here after %s: %s\n", *timeout, strings.Join(d.Left, " "))
			return 1
		case <-time.After(200 * time.Millisecond):
		}
		d, err = client.Drained(ctx)
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "fleetd: drain: %v\n", err)
		return 1
	}
	if len(d.Stay) > 0 {
		fmt.Fprintf(e.Stdout, "no other machine takes: %s\n", strings.Join(d.Stay, " "))
	}
	fmt.Fprintln(e.Stdout, "drained")
	return 0
}
