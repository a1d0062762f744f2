package etcdcerts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Options says what to make.
type Options struct {
	// Dir is created if it is not there. Authorities, members and clients that
	// it has are kept.
	Dir     string
	Members []Member
	// Clients are names of etcd users.
	Clients []string
	Days    int  // of validity
	Renew   bool // make the certificates of what is kept anew, by the same authorities
	Now     time.Time
	Random  io.Reader
}

// Member is a member of the cluster.
type Member struct {
	Name    string
	Address string // IP address or DNS name by which the others reach it
}

// Made is what Make did.
type Made struct {
	Dir       string
	New, Kept []string // below Dir
	Members   []Member // whose directories are new
}

// The names of files in Dir and in a member's or client's directory.
const (
	authorityClients = "ca"
	authorityPeers   = "peer-ca"
	serverName       = "server"
	peerName         = "peer"
	clientName       = "client"
	membersFile      = "members"
	etcdEnv          = "etcd.env"
	etcdctlEnv       = "etcdctl.env"
)

// maxMembers is more than any etcd cluster should have, and maxDays what
// certificates can say.
const (
	maxMembers = 64
	maxDays    = 36_500
)

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	hostName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
)

// ParseMember reads NAME=ADDRESS.
func ParseMember(text string) (Member, error) {
	name, address, ok := strings.Cut(text, "=")
	m := Member{name, address}
	if !ok {
		return m, fmt.Errorf("member %q: not NAME=ADDRESS", text)
	}
	return m, m.validate()
}

func (m Member) validate() error {
	switch {
	case !plainName.MatchString(m.Name):
		return fmt.Errorf("member %q: not a name of letters, digits, dots and dashes", m.Name)
	case net.ParseIP(m.Address) == nil && (len(m.Address) > 253 || !hostName.MatchString(m.Address) ||
		!strings.ContainsAny(m.Address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")):
		return fmt.Errorf("member %s: address %q is no IP address or DNS name", m.Name, m.Address)
	}
	return nil
}

// validate checks options as they are, without those members that Dir has.
func (o *Options) validate() error {
	if len(o.Members) == 0 && len(o.Clients) == 0 && !o.Renew {
		return errors.New("no member")
	}
	if o.Days < 1 || o.Days > maxDays {
		return fmt.Errorf("days %d: not between 1 and %d", o.Days, maxDays)
	}
	for _, c := range o.Clients {
		if !plainName.MatchString(c) {
			return fmt.Errorf("client %q: not a name of letters, digits, dots and dashes", c)
		}
	}
	return checkMembers(o.Members)
}

// checkMembers refuses what cannot be one cluster.
func checkMembers(members []Member) error {
	if len(members) > maxMembers {
		return fmt.Errorf("%d members: more than %d", len(members), maxMembers)
	}
	reserved := []string{authorityClients, authorityPeers, clientDir, membersFile}
	for i, m := range members {
		if slices.Contains(reserved, m.Name) {
			return fmt.Errorf("member %q: the name is taken by something else", m.Name)
		}
		for _, other := range members[:i] {
			if other.Name == m.Name {
				return fmt.Errorf("member %q: there twice", m.Name)
			}
			if other.Address == m.Address {
				return fmt.Errorf("members %q and %q both have the address %s", other.Name, m.Name, m.Address)
			}
		}
	}
	return nil
}

// clientDir holds the directories of clients.
const clientDir = "clients"

// Make makes what Dir lacks. Each directory in it appears whole or not at all.
func Make(o *Options) (*Made, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	known, err := readMembers(filepath.Join(o.Dir, membersFile))
	if err != nil {
		return nil, err
	}
	all, err := join(known, o.Members)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, clientDir), 0o700); err != nil {
		return nil, err
	}
	s := &session{Options: o, made: &Made{Dir: o.Dir}, known: known}
	if s.clients, err = s.authority(authorityClients, "etcd clients and servers"); err != nil {
		return nil, err
	}
	if s.peers, err = s.authority(authorityPeers, "etcd members"); err != nil {
		return nil, err
	}
	if err := writeMembers(filepath.Join(o.Dir, membersFile), all); err != nil {
		return nil, err
	}
	for _, m := range all {
		isNew, err := s.directory(m.Name, func() (files, error) { return s.member(m, all) })
		if err != nil {
			return nil, err
		}
		if isNew {
			s.made.Members = append(s.made.Members, m)
		}
	}
	clients, err := s.knownClients()
	if err != nil {
		return nil, err
	}
	for _, name := range clients {
		_, err := s.directory(filepath.Join(clientDir, name), func() (files, error) { return s.client(name) })
		if err != nil {
			return nil, err
		}
	}
	return s.made, nil
}

// join adds members to those of a directory. Who is known keeps the address.
func join(known, added []Member) ([]Member, error) {
	all := slices.Clone(known)
	for _, m := range added {
		i := slices.IndexFunc(all, func(k Member) bool { return k.Name == m.Name })
		if i < 0 {
			all = append(all, m)
		} else if all[i].Address != m.Address {
			return nil, fmt.Errorf("member %q: has the address %s already, not %s", m.Name, all[i].Address, m.Address)
		}
	}
	return all, checkMembers(all)
}

// readMembers reads the members of a directory, one NAME=ADDRESS on a line; no
// file is none.
func readMembers(name string) ([]Member, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Member
	for line := range strings.Lines(string(text)) {
		m, err := ParseMember(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, m)
	}
	if err := checkMembers(all); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

func writeMembers(name string, members []Member) error {
	var b strings.Builder
	for _, m := range members {
		fmt.Fprintf(&b, "%s=%s\n", m.Name, m.Address)
	}
	return writeAside(name, []byte(b.String()), 0o644)
}

// knownClients are those asked for and those that the directory has.
func (s *session) knownClients() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, clientDir))
	if err != nil {
		return nil, err
	}
	names := slices.Clone(s.Clients)
	for _, e := range entries {
		if plainName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
