// Package etcdcerts is the program "slipway-host etcd-certs": one command
// makes the certificates of an etcd cluster, and a directory for each member
// that switches its etcd.service to TLS by being there.
//
// There are two authorities: one for what clients meet and show, and one that
// members know each other by, so that no client can pass for a member. The
// keys of both stay where the command runs.
package etcdcerts

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// Env is what the program sees of the world.
type Env struct {
	// Name is the program's name in messages.
	Name string
	// Stdout and Stderr take output and errors.
	Stdout, Stderr io.Writer
	Now            func() time.Time
	// Random makes keys and serial numbers.
	Random io.Reader
}

// Place is where etcd.service looks for a member's directory.
const Place = "/etc/etcd/tls"

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds a value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// Main runs the program with the arguments after its name and returns the
// exit code.
func Main(args []string, e Env) int {
	o := Options{Now: e.Now(), Random: e.Random}
	var members, clients list
	flags := flag.NewFlagSet(e.Name, flag.ContinueOnError)
	flags.SetOutput(e.Stderr)
	flags.Var(&members, "member", "`NAME=ADDRESS` of a member, an IP address or a DNS name; once for each")
	flags.Var(&clients, "client", "`NAME` of a client that gets a certificate; etcd takes it for the user of that name")
	flags.StringVar(&o.Dir, "out", "etcd-certs", "`DIR` of the authorities and of what is made")
	flags.IntVar(&o.Days, "days", 3650, "how long certificates are valid")
	flags.BoolVar(&o.Renew, "renew", false, "make the certificates of members and clients anew, by the same authorities")
	flags.Usage = func() {
		fmt.Fprintf(e.Stderr, "usage: %s --member NAME=ADDRESS... [--client NAME...] [--out DIR] [--days N] [--renew]\n"+
			"Makes the certificates of an etcd cluster. Called again with the same DIR it adds\n"+
			"members and clients, by the same authorities.\n\n", e.Name)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	err := parse(&o, flags.Args(), members, clients)
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\nhint: %s --member a=10.0.0.1 --member b=10.0.0.2 --member c=10.0.0.3\n",
			e.Name, err, e.Name)
		return 2
	}
	made, err := Make(&o)
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
		return 1
	}
	made.print(e.Stdout)
	return 0
}

// parse checks what the command line says.
func parse(o *Options, rest, members, clients []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("argument %q: not expected", rest[0])
	}
	for _, text := range members {
		m, err := ParseMember(text)
		if err != nil {
			return err
		}
		o.Members = append(o.Members, m)
	}
	o.Clients = clients
	return o.validate()
}

// print says what was made and what to do with it.
func (m *Made) print(out io.Writer) {
	for _, name := range m.New {
		fmt.Fprintf(out, "made %s\n", filepath.Join(m.Dir, name))
	}
	for _, name := range m.Kept {
		fmt.Fprintf(out, "kept %s\n", filepath.Join(m.Dir, name))
	}
	if len(m.Members) == 0 {
		return
	}
	fmt.Fprintf(out, "\nOn each machine its directory becomes %s:\n", Place)
	for _, member := range m.Members {
		fmt.Fprintf(out, "  tar -C %s -c . | ssh core@%s 'sudo mkdir -p %s && sudo tar -C %s -x'\n",
			filepath.Join(m.Dir, member.Name), member.Address, Place, Place)
	}
	fmt.Fprintf(out, "Then, on all of them: sudo systemctl restart etcd\n"+
		"%s and %s can make members: keep them off the machines.\n",
		filepath.Join(m.Dir, authorityClients+".key"), filepath.Join(m.Dir, authorityPeers+".key"))
}
