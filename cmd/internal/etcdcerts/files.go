package etcdcerts

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// files are the files of a directory to make, by name.
type files map[string][]byte

// session is one call of Make.
type session struct {
	*Options
	made           *Made
	known          []Member // that Dir had before
	clients, peers *authority
}

// directory makes a directory below Dir unless it is there and nothing is to
// be renewed. It reports whether it did.
func (s *session) directory(name string, contents func() (files, error)) (bool, error) {
	dir := filepath.Join(s.Dir, name)
	_, err := os.Stat(dir)
	if err == nil && !s.Renew {
		s.made.Kept = append(s.made.Kept, name)
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	all, err := contents()
	if err != nil {
		return false, err
	}
	for file := range all {
		// What was made for the cluster as it began, and maybe edited since.
		if old, err := os.ReadFile(filepath.Join(dir, file)); err == nil && filepath.Ext(file) == ".env" {
			all[file] = old
		}
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(aside)
	for file, data := range all {
		if err := os.WriteFile(filepath.Join(aside, file), data, 0o600); err != nil {
			return false, err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, err
	}
	s.made.New = append(s.made.New, name)
	return true, os.Rename(aside, dir)
}

// member makes the directory of a member: what it shows to clients and to
// other members, what its own tools show, and the environment of both.
func (s *session) member(m Member, all []Member) (files, error) {
	f := files{
		authorityClients + ".pem": s.clients.pem, authorityPeers + ".pem": s.peers.pem,
		etcdEnv: []byte(m.environment(all, s.clients.token(), s.state(m))), etcdctlEnv: []byte(m.toolEnvironment()),
	}
	hosts := []string{m.Address, "localhost", "127.0.0.1", "::1"}
	if err := s.clients.issue(s.Options, f, serverName, "", hosts); err != nil {
		return nil, err
	}
	if err := s.peers.issue(s.Options, f, peerName, "", []string{m.Address, "127.0.0.1", "::1"}); err != nil {
		return nil, err
	}
	return f, s.clients.issue(s.Options, f, clientName, "root", nil)
}

// state is how a member comes to its cluster: one that was not among those the
// directory was begun with joins what is there.
func (s *session) state(m Member) string {
	if len(s.known) > 0 && !slices.Contains(s.known, m) {
		return "existing"
	}
	return "new"
}

// client makes the directory of a client.
func (s *session) client(name string) (files, error) {
	f := files{authorityClients + ".pem": s.clients.pem}
	return f, s.clients.issue(s.Options, f, clientName, name, nil)
}

// environment is what etcd.service reads: TLS, and the member's place in the
// cluster of all.
func (m Member) environment(all []Member, token, state string) string {
	anywhere := "0.0.0.0"
	if ip := net.ParseIP(m.Address); ip != nil && ip.To4() == nil {
		anywhere = "[::]"
	}
	var cluster []string
	for _, other := range all {
		cluster = append(cluster, other.Name+"="+other.url(2380))
	}
	file := func(name string) string { return Place + "/" + name }
	var b strings.Builder
	fmt.Fprintf(&b, "# Member %s of an etcd cluster with TLS: read by etcd.service, before\n"+
		"# /etc/default/etcd.\n", m.Name)
	// The data of the single node that a machine begins with would be in the way
	// of a cluster's.
	data := "/var/lib/etcd/default"
	if len(all) > 1 {
		data = "/var/lib/etcd/cluster"
	}
	for _, v := range [][2]string{
		{"NAME", m.Name},
		{"DATA_DIR", data},
		{"LISTEN_CLIENT_URLS", "https://" + anywhere + ":2379"},
		{"ADVERTISE_CLIENT_URLS", m.url(2379)},
		{"LISTEN_PEER_URLS", "https://" + anywhere + ":2380"},
		{"INITIAL_ADVERTISE_PEER_URLS", m.url(2380)},
		{"INITIAL_CLUSTER", strings.Join(cluster, ",")},
		{"INITIAL_CLUSTER_TOKEN", token},
		{"INITIAL_CLUSTER_STATE", state},
		{"CERT_FILE", file(serverName + ".pem")},
		{"KEY_FILE", file(serverName + ".key")},
		{"TRUSTED_CA_FILE", file(authorityClients + ".pem")},
		{"CLIENT_CERT_AUTH", "true"},
		{"PEER_CERT_FILE", file(peerName + ".pem")},
		{"PEER_KEY_FILE", file(peerName + ".key")},
		{"PEER_TRUSTED_CA_FILE", file(authorityPeers + ".pem")},
		{"PEER_CLIENT_CERT_AUTH", "true"},
	} {
		fmt.Fprintf(&b, "ETCD_%s=%s\n", v[0], v[1])
	}
	return b.String()
}

// toolEnvironment is what etcdctl needs on a member. It has no endpoint, as
// etcdctl refuses a flag that a variable sets already; the default is right.
func (m Member) toolEnvironment() string {
	return fmt.Sprintf("# For etcdctl on member %s; /etc/profile.d/etcdctl.sh reads it.\n"+
		"ETCDCTL_CACERT=%s/%s.pem\nETCDCTL_CERT=%s/%s.pem\nETCDCTL_KEY=%s/%s.key\n",
		m.Name, Place, authorityClients, Place, clientName, Place, clientName)
}

// url is where a member is reached at a port.
func (m Member) url(port int) string {
	return "https://" + net.JoinHostPort(m.Address, fmt.Sprint(port))
}

// writeAside writes a file so that it is whole or not there.
func writeAside(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
