package fleetconf_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/fleetconf"
)

func load(text string, environ ...string) (*fleetconf.Config, error) {
	root := fstest.MapFS{"fleet.conf": {Data: []byte(text)}}
	return fleetconf.Load("fleet.conf", func(name string) (fs.File, error) { return root.Open(name) }, environ)
}

func TestDefaults(t *testing.T) {
	c, err := load("")
	require.NoError(t, err)
	assert.Equal(t, []string{"http://127.0.0.1:2379"}, c.EtcdServers)
	assert.Equal(t, 30*time.Second, c.AgentTTL)
	assert.Equal(t, 2*time.Second, c.EngineInterval)
	assert.Equal(t, "/_coreos.com/fleet/", c.EtcdPrefix)
	assert.Equal(t, 100, c.TokenLimit)
	assert.Equal(t, "/run/fleet/units", c.UnitsDir)
	none, err := fleetconf.Load("nothing", fstest.MapFS{}.Open, nil)
	require.NoError(t, err)
	assert.Equal(t, c, none)
}

// The sample that came with fleet, every line of it in force.
func TestFile(t *testing.T) {
	c, err := load(`# This config file is INI-formatted
verbosity=1
etcd_servers=["http://127.0.0.1:2379", "https://10.0.0.1:2379"]
etcd_request_timeout=1.5
etcd_cafile=/path/to/CAfile
etcd_keyfile=/path/to/keyfile
etcd_certfile=/path/to/certfile
etcd_username=root
etcd_password="co=re'os"
public_ip=""
metadata="region=us-west, az = us-west-1,"
agent_ttl="45s"
engine_reconcile_interval=3
disable_engine = True
disable_watches=true
token_limit=7
units_directory='/run/other'
; api_socket=/x
`)
	require.NoError(t, err)
	assert.Equal(t, &fleetconf.Config{
		Verbosity: 1, EtcdServers: []string{"http://127.0.0.1:2379", "https://10.0.0.1:2379"}, EtcdTimeout: 1500 * time.Millisecond,
		EtcdCAFile: "/path/to/CAfile", EtcdKeyFile: "/path/to/keyfile", EtcdCertFile: "/path/to/certfile",
		EtcdUsername: "root", EtcdPassword: "co=re'os", EtcdPrefix: "/_coreos.com/fleet/",
		Metadata: map[string]string{"region": "us-west", "az": "us-west-1"}, AgentTTL: 45 * time.Second,
		EngineInterval: 3 * time.Second, DisableEngine: true, TokenLimit: 7, UnitsDir: "/run/other", APISocket: "/run/fleet.sock",
	}, c)
}

func TestEnvironment(t *testing.T) {
	c, err := load("agent_ttl=40\nmetadata=a=b\npublic_ip=10.0.0.1\n",
		"FLEET_AGENT_TTL=50s", "FLEET_METADATA=c=d", "FLEET_ETCD_SERVERS=http://a:1,http://b:2", "FLEET_PUBLIC_IP=", "FLEET_HOMEPORT=x", "PATH=/bin")
	require.NoError(t, err)
	assert.Equal(t, 50*time.Second, c.AgentTTL)
	assert.Equal(t, map[string]string{"c": "d"}, c.Metadata)
	assert.Equal(t, []string{"http://a:1", "http://b:2"}, c.EtcdServers)
	assert.Equal(t, "10.0.0.1", c.PublicIP)
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"\n\nagent_tll=3":                  `fleet.conf:3: unknown key "agent_tll"`,
		"metadata":                         `fleet.conf:1: "metadata" is not key=value`,
		"[fleet]":                          `fleet.conf:1: section "[fleet]": fleet.conf has no sections`,
		"agent_ttl=soon":                   `fleet.conf:1: agent_ttl: "soon" is not a time in seconds`,
		"agent_ttl=1":                      `fleet.conf:1: agent_ttl: 1s is not between 2s and 24h0m0s`,
		"agent_ttl=2.5":                    `fleet.conf:1: agent_ttl: 2.5s is not in whole seconds`,
		"etcd_servers=[":                   `fleet.conf:1: etcd_servers: "[" is not a list such as ["http://127.0.0.1:2379"]`,
		"etcd_servers=[]":                  `fleet.conf:1: etcd_servers: no server is named`,
		"etcd_servers=127.0.0.1":           `fleet.conf:1: etcd_servers: "127.0.0.1" is not a URL such as http://127.0.0.1:2379`,
		"etcd_cafile=ca.pem":               `fleet.conf:1: etcd_cafile: "ca.pem" is not an absolute path`,
		"public_ip=$private_ipv4":          `fleet.conf:1: public_ip: "$private_ipv4" is not an IP address`,
		"metadata=a=b,c":                   `fleet.conf:1: metadata: "c" is not key=value`,
		"metadata=a/b=c":                   `fleet.conf:1: metadata: "a/b=c" is not key=value`,
		"token_limit=0":                    `fleet.conf:1: token_limit: "0" is not a number from 1 to 10000`,
		"disable_engine=maybe":             `fleet.conf:1: disable_engine: "maybe" is neither true nor false`,
		"etcd_key_prefix=/":                `fleet.conf:1: etcd_key_prefix: prefix is empty`,
		"api_listen=80":                    `fleet.conf:1: api_listen: "80" is not host:port`,
		"etcd_certfile=/a":                 `fleet.conf: etcd_certfile and etcd_keyfile are only of use together`,
		"etcd_password=a":                  `fleet.conf: etcd_password needs etcd_username`,
		"public_ip=\xff":                   `fleet.conf:1: line is not UTF-8`,
		strings.Repeat("x", 100_000) + "=": `fleet.conf: bufio.Scanner: token too long`,
	} {
		_, err := load(text)
		assert.EqualError(t, err, want)
	}
	_, err := load("", "FLEET_AGENT_TTL=soon")
	assert.EqualError(t, err, `environment FLEET_AGENT_TTL: "soon" is not a time in seconds`)
}

// What is accepted is usable.
func FuzzRead(f *testing.F) {
	f.Add("etcd_servers=[\"http://127.0.0.1:2379\"]\nmetadata=\"a=b\"\nagent_ttl=30s\n")
	f.Add("api_listen=:1\napi_cafile=/a\napi_certfile=/b\napi_keyfile=/c\n")
	f.Add("# x\n[y]\nverbosity=1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := fleetconf.Read("fleet.conf", strings.NewReader(text))
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		assert.NotEmpty(t, c.EtcdServers)
		assert.GreaterOrEqual(t, c.AgentTTL, 2*time.Second)
		assert.Positive(t, c.EtcdTimeout)
		assert.Positive(t, c.EngineInterval)
		assert.Positive(t, c.TokenLimit)
		for key, value := range c.Metadata {
			assert.NotEmpty(t, key+value)
			assert.NotContains(t, key, "/")
		}
	})
}
