// Package locksmith is the programs locksmithctl and locksmithd, as CoreOS had
// them: how they are called and what they print. What they do is in the packages
// below: the lock, the reboot window, the coordinator, and the machine's bus.
package locksmith

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"slipway/cmd/internal/locksmith/bus"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/nextkernel"
	"slipway/cmd/internal/updateconf"
)

// Bus is what the programs want of the machine.
type Bus interface {
	Restart(ctx context.Context, method string) error
	SendNeedReboot(ctx context.Context, moment time.Duration) error
	Close() error
}

// Env is what the programs see of the world.
type Env struct {
	Name           string // of the program, in usage texts
	Stdout, Stderr io.Writer
	Root           string // put before all paths
	Environment    []string
	UID            int
	Now            func() time.Time
	// Next is the version that a restart starts, "" if it is the running one or
	// not known.
	Next func() string
	// Running is the version that runs, "" if it is not known.
	Running func() string
	// Connect connects to the system bus.
	Connect func(ctx context.Context, stdout io.Writer) (Bus, error)
}

// Host is the Env of a running machine.
func Host(name string) *Env {
	return &Env{
		Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Root: "/", Environment: os.Environ(),
		UID: os.Geteuid(), Now: time.Now, Next: nextkernel.Version, Running: nextkernel.Running,
		Connect: func(ctx context.Context, stdout io.Writer) (Bus, error) { return systemBus(ctx, stdout) },
	}
}

// systemBus connects to the system bus, on which root is believed.
func systemBus(ctx context.Context, stdout io.Writer) (*bus.Bus, error) {
	b, err := bus.Connect(ctx, "")
	if err != nil {
		return nil, err
	}
	b.Stdout, b.UID, b.Unload = stdout, 0, nextkernel.Unload
	return b, nil
}

// settings are what the flags that both programs have say about etcd.
type settings struct {
	etcd    updateconf.Etcd
	version bool
}

// endpointFlag collects -endpoint, which may be given more than once: the first
// time takes the place of what others say.
type endpointFlag struct {
	e     *updateconf.Etcd
	again bool
}

// String is what holds now.
func (f *endpointFlag) String() string {
	if f.e == nil {
		return ""
	}
	return strings.Join(f.e.Endpoints, ",")
}

// Set takes one flag.
func (f *endpointFlag) Set(text string) error {
	if !f.again {
		f.e.Endpoints = nil
	}
	f.e.Configured, f.again = true, true
	f.e.Endpoints = append(f.e.Endpoints, updateconf.Endpoints(text)...)
	return nil
}

// flags are those of both programs. What a flag does not say an environment
// variable PREFIX_FLAG may, and after that update.conf.
func (e *Env) flags(prefix string, c *updateconf.Config, s *settings) (*flag.FlagSet, error) {
	s.etcd = c.Reboot.Etcd
	f := flag.NewFlagSet(e.Name, flag.ContinueOnError)
	f.SetOutput(e.Stderr)
	f.Usage = func() { e.usage(f) }
	endpoint := &endpointFlag{e: &s.etcd}
	f.Var(endpoint, "endpoint", "etcd `URL`s, with commas between them; may be given more than once")
	f.StringVar(&s.etcd.Group, "group", s.etcd.Group, "`GROUP` of machines that share a lock")
	f.StringVar(&s.etcd.CAFile, "etcd-cafile", s.etcd.CAFile, "`FILE` with the authority of etcd's certificate")
	f.StringVar(&s.etcd.CertFile, "etcd-certfile", s.etcd.CertFile, "`FILE` with the certificate to show etcd")
	f.StringVar(&s.etcd.KeyFile, "etcd-keyfile", s.etcd.KeyFile, "`FILE` with the key of that certificate")
	f.StringVar(&s.etcd.Username, "etcd-username", s.etcd.Username, "`NAME` of the user of etcd")
	f.Func("etcd-password", "`PASSWORD` of that user", func(text string) error {
		s.etcd.Password = text // whose default no help shows
		return nil
	})
	f.BoolVar(&s.version, "version", false, "say the version and exit")
	for _, entry := range e.Environment {
		key, text, _ := strings.Cut(entry, "=")
		name, ours := strings.CutPrefix(key, prefix+"_")
		if name = strings.ToLower(strings.ReplaceAll(name, "_", "-")); !ours || text == "" || f.Lookup(name) == nil {
			continue
		}
		if err := f.Set(name, text); err != nil {
			return nil, fmt.Errorf("environment variable %s=%.40q: %w", key, text, err)
		}
	}
	endpoint.again = false
	return f, nil
}

// environment is the program's environment as a map.
func (e *Env) environment() map[string]string {
	m := map[string]string{}
	for _, entry := range e.Environment {
		key, text, _ := strings.Cut(entry, "=")
		m[key] = text
	}
	return m
}

// version is that of the image the programs are in.
func (e *Env) version() string {
	if v := e.Running(); v != "" {
		return v
	}
	return "unknown"
}

// openLock makes a client of etcd and finds the lock.
func openLock(e updateconf.Etcd) (coordinator.Lock, func(), error) {
	client, err := lock.Dial(&e)
	if err != nil {
		return nil, nil, err
	}
	return lock.NewStore(client, e.Group), func() { _ = client.Close() }, nil
}
