package qemutests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// testEtcd is the session of an administrator, with both of etcd's APIs.
func (m *machine) testEtcd(t *testing.T) {
	m.run(t, "etcdctl put slipway/test 'a value'")
	assert.Equal(t, "slipway/test\na value", m.run(t, "etcdctl get slipway/test"))

	assert.Equal(t, "Hello world", m.run(t, "ETCDCTL_API=2 etcdctl set /foo 'Hello world'"))
	assert.Equal(t, "Hello world", m.run(t, "ETCDCTL_API=2 etcdctl get /foo"))
	assert.Regexp(t, `^\{"action":"set","node":\{"key":"/bar","value":"Hello world",`,
		m.run(t, `curl -sSL -X PUT http://127.0.0.1:2379/v2/keys/bar -d value="Hello world"`))
	assert.Contains(t, m.run(t, "curl -sSL http://127.0.0.1:2379/v2/keys/bar"), `"value":"Hello world"`)
}

// testEtcdWithoutMajority makes the machine a member of a cluster whose others
// are down. That is no fault of the version it runs: the unit comes up and
// stays, which is all that health asks of it.
func (m *machine) testEtcdWithoutMajority(t *testing.T) {
	m.run(t, `printf 'ETCD_%s\n' NAME=a DATA_DIR=/var/lib/etcd/cluster \
		INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:2380 \
		INITIAL_CLUSTER=a=http://127.0.0.1:2380,b=http://127.0.0.1:12380,c=http://127.0.0.1:22380 \
		>/etc/default/etcd`)
	m.run(t, "systemctl restart etcd")
	assert.Equal(t, "active", m.run(t, "systemctl is-active etcd"))
	assert.Equal(t, "0", m.run(t, "systemctl show -P NRestarts etcd"))
	assert.Contains(t, m.run(t, "journalctl -u etcd -o cat --no-pager"), "the member runs and waits for the others")
	m.run(t, "rm /etc/default/etcd && systemctl restart etcd")
	assert.Equal(t, "slipway/test\na value", m.run(t, "etcdctl get slipway/test"))
}

// testEtcdTLS turns TLS on by one command and a copy, and finds the data of
// before.
func (m *machine) testEtcdTLS(t *testing.T) {
	m.run(t, "slipway-host etcd-certs --out /root/certs --member a=127.0.0.1")
	m.run(t, "mkdir -p /etc/etcd && cp -r /root/certs/a /etc/etcd/tls && systemctl restart etcd")
	assert.Equal(t, "slipway/test\na value", m.run(t, "bash -lc 'etcdctl get slipway/test'"))
	_, code := m.try(t, "curl -sSk https://127.0.0.1:2379/version")
	assert.NotZero(t, code, "without a certificate")
	_, code = m.try(t, "curl -sS http://127.0.0.1:2379/version")
	assert.NotZero(t, code, "without TLS")
	m.run(t, "rm -r /etc/etcd/tls && systemctl restart etcd")
	assert.Equal(t, "slipway/test\na value", m.run(t, "etcdctl get slipway/test"))
}
