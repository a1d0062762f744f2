package etcdcerts_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdcerts"
)

var now = time.Date(2026, time.November, 28, 12, 0, 0, 0, time.UTC)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runAt(now, args...)
}

func runAt(at time.Time, args ...string) (code int, stdout, stderr string) {
	var out, complaint bytes.Buffer
	code = etcdcerts.Main(args, etcdcerts.Env{
		Name: "etcd-certs", Stdout: &out, Stderr: &complaint, Random: rand.Reader,
		Now: func() time.Time { return at },
	})
	return code, out.String(), complaint.String()
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := run(t, args...)
	require.Equal(t, 0, code, stderr)
	return stdout
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	require.NoError(t, err)
	return string(text)
}

func certificate(t *testing.T, parts ...string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, parts...)))
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}

func TestCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	stdout := must(t, "--out", dir, "--member", "a=10.0.0.1", "--member", "b=b.example.org", "--member", "c=2001:db8::3",
		"--client", "fleet")
	assert.Contains(t, stdout, "made "+dir+"/ca.pem\n")
	assert.Contains(t, stdout, "made "+dir+"/clients/fleet\n")
	assert.Contains(t, stdout, "  tar -C "+dir+"/b -c . | ssh core@b.example.org "+
		"'sudo mkdir -p /etc/etcd/tls && sudo tar -C /etc/etcd/tls -x'\n")
	assert.Contains(t, stdout, "keep them off the machines")

	env := read(t, dir, "c", "etcd.env")
	for _, line := range []string{
		"ETCD_NAME=c", "ETCD_LISTEN_PEER_URLS=https://[::]:2380", "ETCD_LISTEN_CLIENT_URLS=https://[::]:2379",
		"ETCD_INITIAL_ADVERTISE_PEER_URLS=https://[2001:db8::3]:2380", "ETCD_INITIAL_CLUSTER_STATE=new",
		"ETCD_INITIAL_CLUSTER=a=https://10.0.0.1:2380,b=https://b.example.org:2380,c=https://[2001:db8::3]:2380",
		"ETCD_DATA_DIR=/var/lib/etcd/cluster", "ETCD_CERT_FILE=/etc/etcd/tls/server.pem", "ETCD_PEER_TRUSTED_CA_FILE=/etc/etcd/tls/peer-ca.pem",
	} {
		assert.Contains(t, env, line+"\n")
	}
	assert.Contains(t, read(t, dir, "a", "etcd.env"), "ETCD_LISTEN_PEER_URLS=https://0.0.0.0:2380\n")
	assert.Contains(t, read(t, dir, "a", "etcdctl.env"), "ETCDCTL_KEY=/etc/etcd/tls/client.key\n")

	// Who may be what, and nobody else.
	verify := func(authority string, usage x509.ExtKeyUsage, parts ...string) error {
		pool := x509.NewCertPool()
		pool.AddCert(certificate(t, dir, authority))
		_, err := certificate(t, append([]string{dir}, parts...)...).Verify(x509.VerifyOptions{
			Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		return err
	}
	assert.NoError(t, verify("ca.pem", x509.ExtKeyUsageServerAuth, "a", "server.pem"))
	assert.NoError(t, verify("peer-ca.pem", x509.ExtKeyUsageServerAuth, "a", "peer.pem"))
	assert.NoError(t, verify("peer-ca.pem", x509.ExtKeyUsageClientAuth, "a", "peer.pem"))
	assert.NoError(t, verify("ca.pem", x509.ExtKeyUsageClientAuth, "clients", "fleet", "client.pem"))
	assert.Error(t, verify("peer-ca.pem", x509.ExtKeyUsageClientAuth, "clients", "fleet", "client.pem"))
	assert.Error(t, verify("ca.pem", x509.ExtKeyUsageServerAuth, "a", "client.pem"))
	assert.NoError(t, certificate(t, dir, "b", "server.pem").VerifyHostname("b.example.org"))
	assert.NoError(t, certificate(t, dir, "c", "peer.pem").VerifyHostname("2001:db8::3"))
	assert.Error(t, certificate(t, dir, "a", "server.pem").VerifyHostname("10.0.0.2"))
	assert.Equal(t, "fleet", certificate(t, dir, "clients", "fleet", "client.pem").Subject.CommonName)
	assert.Empty(t, certificate(t, dir, "a", "server.pem").Subject.CommonName)
	assert.Equal(t, now.AddDate(0, 0, 3650), certificate(t, dir, "a", "server.pem").NotAfter)

	// Private keys are their owner's alone, and none of an authority's is in a
	// member's directory.
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if filepath.Ext(p) == ".key" || d.IsDir() {
			assert.Zero(t, info.Mode().Perm()&0o077, p)
		}
		if filepath.Ext(p) == ".key" && filepath.Dir(p) != dir {
			assert.NotContains(t, []string{"ca.key", "peer-ca.key"}, d.Name())
		}
		return nil
	})
	require.NoError(t, err)
}

// A second call adds and keeps; --renew makes certificates anew and nothing
// else.
func TestAddAndRenew(t *testing.T) {
	dir := t.TempDir()
	must(t, "--out", dir, "--member", "a=10.0.0.1")
	authority, before, env := read(t, dir, "ca.pem"), read(t, dir, "a", "server.pem"), read(t, dir, "a", "etcd.env")
	stdout := must(t, "--out", dir, "--member", "b=10.0.0.2", "--client", "app")
	assert.Equal(t, authority, read(t, dir, "ca.pem"))
	assert.Equal(t, before, read(t, dir, "a", "server.pem"))
	assert.Contains(t, stdout, "kept "+dir+"/a\n")
	assert.NotContains(t, stdout, "core@10.0.0.1")
	assert.Contains(t, stdout, "core@10.0.0.2")
	assert.Contains(t, read(t, dir, "b", "etcd.env"), "ETCD_INITIAL_CLUSTER_STATE=existing\n")
	assert.Contains(t, read(t, dir, "b", "etcd.env"),
		"ETCD_INITIAL_CLUSTER=a=https://10.0.0.1:2380,b=https://10.0.0.2:2380\n")
	assert.Contains(t, env, "ETCD_INITIAL_CLUSTER_STATE=new\n")
	assert.Contains(t, env, "ETCD_DATA_DIR=/var/lib/etcd/default\n", "of the single node that it is")
	assert.Contains(t, read(t, dir, "b", "etcd.env"), "ETCD_DATA_DIR=/var/lib/etcd/cluster\n")

	must(t, "--out", dir, "--renew")
	assert.Equal(t, authority, read(t, dir, "ca.pem"))
	assert.NotEqual(t, before, read(t, dir, "a", "server.pem"))
	assert.Equal(t, env, read(t, dir, "a", "etcd.env"))
	assert.FileExists(t, filepath.Join(dir, "clients/app/client.pem"))
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestRefuses(t *testing.T) {
	old := t.TempDir()
	must(t, "--out", old, "--member", "a=10.0.0.1")
	damaged := t.TempDir()
	must(t, "--out", damaged, "--member", "a=10.0.0.1")
	require.NoError(t, os.WriteFile(filepath.Join(damaged, "ca.key"), []byte(read(t, old, "ca.key")), 0o600))
	garbage := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(garbage, "members"), []byte("../x=1\n"), 0o600))
	many := []string{"--out", t.TempDir()}
	for i := range 65 {
		many = append(many, "--member", string(rune('a'+i/26))+string(rune('a'+i%26))+"=n"+strings.Repeat("x", i))
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing", nil, 2, "etcd-certs: no member\nhint: etcd-certs --member a=10.0.0.1"},
		{"argument", []string{"a=10.0.0.1"}, 2, `argument "a=10.0.0.1": not expected`},
		{"no address", []string{"--member", "a"}, 2, `member "a": not NAME=ADDRESS`},
		{"empty address", []string{"--member", "a="}, 2, `member a: address "" is no IP address or DNS name`},
		{"URL", []string{"--member", "a=https://a"}, 2, `member a: address "https://a" is no IP address or DNS name`},
		{"half an address", []string{"--member", "a=10.0.0"}, 2, `member a: address "10.0.0" is no IP address or DNS name`},
		{"shell", []string{"--member", "a=$(reboot)"}, 2, "is no IP address or DNS name"},
		{"path", []string{"--member", "../a=10.0.0.1"}, 2, `member "../a": not a name of letters`},
		{"reserved", []string{"--member", "clients=10.0.0.1"}, 2, `member "clients": the name is taken by something else`},
		{"twice", []string{"--member", "a=10.0.0.1", "--member", "a=10.0.0.2"}, 2, `member "a": there twice`},
		{"one address", []string{"--member", "a=10.0.0.1", "--member", "b=10.0.0.1"}, 2,
			`members "a" and "b" both have the address 10.0.0.1`},
		{"client", []string{"--client", "a/b"}, 2, `client "a/b": not a name of letters`},
		{"days", []string{"--member", "a=10.0.0.1", "--days", "0"}, 2, "days 0: not between 1 and 36500"},
		{"too many", many, 2, "65 members: more than 64"},
		{"moved", []string{"--out", old, "--member", "a=10.0.0.9"}, 1,
			`etcd-certs: member "a": has the address 10.0.0.1 already, not 10.0.0.9`},
		{"other key", []string{"--out", damaged, "--member", "b=10.0.0.2"}, 1,
			"etcd-certs: " + damaged + "/ca.pem: its .key file is of another certificate\n"},
		{"garbage", []string{"--out", garbage, "--member", "b=10.0.0.2"}, 1,
			"etcd-certs: " + garbage + `/members: member "../x": not a name of letters, digits, dots and dashes`},
	} {
		code, _, stderr := run(t, c.args...)
		assert.Equal(t, c.code, code, c.name)
		assert.Contains(t, stderr, c.want, c.name)
	}
	assert.NoDirExists(t, filepath.Join(old, "b"))

	code, _, stderr := runAt(now.AddDate(11, 0, 0), "--out", old, "--renew")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "/ca.pem: expired on 2036-11-25\n")
}

func FuzzParseMember(f *testing.F) {
	for _, seed := range []string{"a=10.0.0.1", "b=b.example.org", "c=::1", "=", "a=b=c", "ü=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := etcdcerts.ParseMember(text)
		if err != nil {
			return
		}
		require.Equal(t, text, m.Name+"="+m.Address)
		require.NotContains(t, m.Name, "/")
		require.False(t, strings.ContainsAny(m.Address, " \t\n'\"$;&|/\\"), "%q", m.Address)
	})
}
