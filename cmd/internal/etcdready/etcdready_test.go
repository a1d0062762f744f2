package etcdready_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdready"
	"slipway/cmd/internal/etcdtest"
)

// world is a machine whose clock only sleeping moves.
type world struct {
	now            time.Time
	env            map[string]string
	stdout, stderr bytes.Buffer
}

func (w *world) run(ctx context.Context, args ...string) int {
	return etcdready.Main(ctx, args, etcdready.Env{
		Name: "etcd-ready", Stdout: &w.stdout, Stderr: &w.stderr, Client: http.DefaultClient,
		Getenv: func(name string) string { return w.env[name] },
		Now:    func() time.Time { return w.now },
		Sleep:  func(_ context.Context, d time.Duration) { w.now = w.now.Add(d) },
	})
}

const (
	noLeader = `{"health":"false","reason":"RAFT NO LEADER"}`
	ready    = `{"health":"true","reason":""}`
	cluster  = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		answer string // of /health; "" for one that does not listen
		args   []string
		code   int
		after  time.Duration
		stdout string
		stderr string
	}{
		{name: "serves", answer: ready},
		{name: "single node does not", answer: noLeader, code: 1, after: 5 * time.Minute,
			stderr: "etcd-ready: does not serve after 5m0s: \"RAFT NO LEADER\"\n"},
		{name: "limit", answer: noLeader, args: []string{"--limit", "1s"}, code: 1, after: time.Second,
			stderr: "etcd-ready: does not serve after 1s: \"RAFT NO LEADER\"\n"},
		{name: "member of a cluster without majority", answer: noLeader, after: 30 * time.Second,
			env: map[string]string{"ETCD_INITIAL_CLUSTER": cluster},
			stdout: "etcd-ready: no majority of the cluster after 30s (\"RAFT NO LEADER\"): " +
				"the member runs and waits for the others\n"},
		{name: "member that waits for others to discover", after: 2 * time.Second, args: []string{"-patience=2s"},
			env:    map[string]string{"ETCD_DISCOVERY": "http://x/y"},
			stdout: "connection refused): the member runs and waits for the others\n"},
		{name: "by DNS", answer: noLeader, after: 30 * time.Second,
			env: map[string]string{"ETCD_DISCOVERY_SRV": "example.org"}, stdout: "no majority"},
		{name: "joins", answer: noLeader, after: 30 * time.Second,
			env: map[string]string{"ETCD_INITIAL_CLUSTER_STATE": "existing"}, stdout: "no majority"},
		{name: "by arguments", answer: noLeader, after: 30 * time.Second,
			env: map[string]string{"DAEMON_ARGS": "--initial-cluster " + cluster}, stdout: "no majority"},
		{name: "cluster of one", answer: noLeader, code: 1, after: 5 * time.Minute,
			env: map[string]string{"ETCD_INITIAL_CLUSTER": "a=http://10.0.0.1:2380"}, stderr: "does not serve"},
		{name: "not etcd", answer: "<html>\n", code: 1, after: 5 * time.Minute,
			stderr: "etcd-ready: does not serve after 5m0s: /health: 200 OK: \"<html>\\n\"\n"},
		{name: "wrong use", args: []string{"now"}, code: 2, stderr: "usage: etcd-ready"},
		{name: "wrong flag", args: []string{"-x"}, code: 2, stderr: "flag provided but not defined: -x"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/health", r.URL.Path, c.name)
			fmt.Fprint(w, c.answer)
		}))
		if c.answer == "" {
			s.Close()
		}
		w := &world{env: map[string]string{"ETCD_LISTEN_METRICS_URLS": "https://x:1, " + s.URL + "/"}}
		for name, value := range c.env {
			w.env[name] = value
		}
		start := w.now
		assert.Equal(t, c.code, w.run(t.Context(), c.args...), c.name)
		assert.Equal(t, c.after, w.now.Sub(start), c.name)
		assert.Contains(t, w.stdout.String(), c.stdout, c.name)
		assert.Contains(t, w.stderr.String(), c.stderr, c.name)
		s.Close()
	}
}

func TestNobodyToAsk(t *testing.T) {
	w := &world{env: map[string]string{"ETCD_LISTEN_METRICS_URLS": "https://127.0.0.1:2381"}}
	assert.Equal(t, 0, w.run(t.Context()))
	assert.Equal(t, "etcd-ready: ETCD_LISTEN_METRICS_URLS has no http:// URL to ask: not waiting\n", w.stdout.String())
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &world{env: map[string]string{"ETCD_LISTEN_METRICS_URLS": "http://127.0.0.1:1"}}
	assert.Equal(t, 1, w.run(ctx))
	assert.Empty(t, w.stderr.String())
}

// A real member that lost its majority counts as up, and one that has it back
// serves.
func TestRealCluster(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3, TLS: true})
	m := c.Members()
	for _, other := range m[1:] {
		other.Kill()
	}
	m[0].Stop()
	m[0].Start() // as after an update of the system
	env := map[string]string{"ETCD_LISTEN_METRICS_URLS": m[0].Metrics, "ETCD_INITIAL_CLUSTER": cluster}
	m[0].WaitLost()
	w := &world{env: env}
	require.Equal(t, 0, w.run(t.Context(), "--patience", "3s"))
	assert.Contains(t, w.stdout.String(), "no majority of the cluster after 3s (\"RAFT NO LEADER\")")

	m[1].Start()
	m[0].WaitHealthy()
	w = &world{env: env}
	require.Equal(t, 0, w.run(t.Context()))
	assert.Empty(t, w.stdout.String())
	assert.Zero(t, w.now)
}
