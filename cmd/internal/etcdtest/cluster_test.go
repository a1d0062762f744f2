package etcdtest_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
)

// A member whose disk is lost is replaced by the commands that the README of
// layer etcd gives.
func TestReplaceMember(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3, TLS: true})
	c.Etcdctl("put", "/before", "1")
	lost, other := c.Members()[2], c.Members()[0]
	lost.Kill()
	lost.Wipe()
	other.WaitHealthy()
	other.Etcdctl("put", "/meanwhile", "2")

	// With nothing but its old configuration it must not come back: it has
	// forgotten what it promised.
	lost.Start()
	lost.WaitEnd()
	lost.Wipe()

	id := memberID(t, other, lost.Name)
	other.Etcdctl("member", "remove", id)
	var printed string
	require.Eventually(t, func() bool { // members must have been connected for 5 s
		var err error
		printed, err = other.TryEtcdctl("member", "add", lost.Name, "--peer-urls="+lost.PeerURL)
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	lost.Join(printed)
	c.WaitHealthy()
	for key, want := range map[string]string{"/before": "1", "/meanwhile": "2"} {
		assert.Equal(t, key+"\n"+want, lost.Etcdctl("get", key))
	}
	assert.Len(t, strings.Split(other.Etcdctl("member", "list"), "\n"), 3)

	// It is a member like the others: one of them may go now.
	c.Members()[1].Kill()
	lost.WaitHealthy()
	lost.Etcdctl("put", "/after", "3")
}

// memberID finds a member's id in "etcdctl member list".
func memberID(t *testing.T, m *etcdtest.Member, name string) string {
	for line := range strings.Lines(m.Etcdctl("member", "list")) {
		if f := strings.Split(line, ", "); len(f) > 2 && f[2] == name {
			return f[0]
		}
	}
	t.Fatalf("no member %s", name)
	return ""
}

// With TLS nobody gets in without a certificate of the right authority.
func TestTLS(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3, TLS: true})
	c.Etcdctl("put", "/foo", "bar")
	m := c.Members()[0]
	assert.True(t, strings.HasPrefix(m.Endpoint, "https://"))

	withCert := &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS()}}
	resp, err := withCert.Get(m.Endpoint + "/version")
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	assert.Contains(t, string(text), `"etcdserver":"3.5.`)

	without := c.TLS()
	without.Certificates = nil
	for name, config := range map[string]struct {
		config *tls.Config
		url    string
	}{
		"client without certificate":      {without, m.Endpoint},
		"peer without certificate":        {&tls.Config{InsecureSkipVerify: true}, m.PeerURL},
		"client that poses as a peer":     {posing(c.TLS()), m.PeerURL},
		"server's authority is not known": {&tls.Config{Certificates: c.TLS().Certificates}, m.Endpoint},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.config}}
		resp, err := client.Get(config.url + "/version")
		if assert.Error(t, err, name) {
			assert.Contains(t, err.Error(), "tls: ", name)
			continue
		}
		resp.Body.Close()
	}
	_, err = http.Get("http" + strings.TrimPrefix(m.Endpoint, "https") + "/version")
	if err == nil {
		_, err = c.TryEtcdctl("get", "/foo", "--insecure-transport=true", "--command-timeout=1s",
			"--endpoints", strings.TrimPrefix(m.Endpoint, "https://"))
	}
	assert.Error(t, err, "plain text")
}

// posing takes any server for the right one, as an attacker does.
func posing(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.InsecureSkipVerify = true
	return config
}

// Certificates name users once authentication is on.
func TestTLSUser(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{TLS: true})
	c.EnableAuth("secret")
	c.Etcdctl("put", "/foo", "by root, as the certificate says")
}

// Members find each other by the discovery protocol; the service is an etcd
// with the v2 API here.
func TestDiscovery(t *testing.T) {
	service := etcdtest.Start(t, &etcdtest.Options{V2: true}).Members()[0]
	token := service.Endpoint + "/v2/keys/discovery/6c007a14"
	put(t, token+"/_config/size", "3")
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3, Discovery: token})
	c.Etcdctl("put", "/foo", "bar")
	assert.Len(t, strings.Split(c.Etcdctl("member", "list"), "\n"), 3)
}

// put sets a key by the v2 API, as "curl -L -X PUT URL -d value=VALUE" does.
func put(t *testing.T, key, value string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, key, strings.NewReader(url.Values{"value": {value}}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return answer(t, req)
}

func answer(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// What administrators of CoreOS typed works, on the v2 API's own keys.
func TestSession(t *testing.T) {
	m := etcdtest.Start(t, &etcdtest.Options{V2: true}).Members()[0]
	assert.Equal(t, "OK", m.Etcdctl("put", "/foo", "Hello world"))
	assert.Equal(t, "/foo\nHello world", m.Etcdctl("get", "/foo"))
	assert.Equal(t, "Hello world", m.V2("set", "/foo", "Hello world"))
	assert.Equal(t, "Hello world", m.V2("get", "/foo"))

	status, text := put(t, m.Endpoint+"/v2/keys/bar", "Hello world")
	assert.Equal(t, http.StatusCreated, status)
	assert.Regexp(t, `^\{"action":"set","node":\{"key":"/bar","value":"Hello world",`+
		`"modifiedIndex":\d+,"createdIndex":\d+\}\}$`, text)
	req, err := http.NewRequest(http.MethodGet, m.Endpoint+"/v2/keys/bar", nil)
	require.NoError(t, err)
	status, text = answer(t, req)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, `"action":"get"`)
	assert.Contains(t, text, `"value":"Hello world"`)
}

// Without V2 there is no such API.
func TestV2IsAskedFor(t *testing.T) {
	m := etcdtest.Start(t, &etcdtest.Options{}).Members()[0]
	status, _ := put(t, m.Endpoint+"/v2/keys/bar", "x")
	assert.Equal(t, http.StatusNotFound, status)
}

// Every variable that etcd.service and etcd-certs set is one that etcd knows:
// of others it only warns.
func TestVariablesAreKnown(t *testing.T) {
	unit, err := os.ReadFile("../../../overlays/etcd/files/usr/lib/systemd/system/etcd.service")
	require.NoError(t, err)
	var env []string
	for line := range strings.Lines(string(unit)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment=ETCD_"); ok {
			env = append(env, "ETCD_"+v)
		}
	}
	require.Contains(t, env, "ETCD_ENABLE_V2=true")
	c := etcdtest.Start(t, &etcdtest.Options{TLS: true, Environment: env})
	log := c.Members()[0].Log()
	assert.Contains(t, log, "recognized and used environment variable")
	assert.NotContains(t, log, "unrecognized environment variable")

	c = etcdtest.Start(t, &etcdtest.Options{Environment: []string{"ETCD_ENABEL_V2=true"}})
	assert.Contains(t, c.Members()[0].Log(), "unrecognized environment variable", "etcd does not warn any more")
}
