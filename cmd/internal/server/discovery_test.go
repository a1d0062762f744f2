package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
)

// answer is what etcd's client reads of an answer.
type keysAnswer struct {
	Action string
	Node   struct {
		Key, Value    string
		Dir           bool
		CreatedIndex  uint64
		ModifiedIndex uint64
		Nodes         []struct {
			Key, Value   string
			CreatedIndex uint64
		}
	}
	ErrorCode      int
	Message, Cause string
	index, status  int
}

// keys asks as etcd 3.5 does: its client sends these very queries.
func keys(ctx context.Context, t *testing.T, method, url, form string) *keysAnswer {
	t.Helper()
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form))
	require.NoError(t, err)
	if form != "" {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	a := &keysAnswer{status: r.StatusCode}
	_, _ = fmt.Sscan(r.Header.Get("X-Etcd-Index"), &a.index)
	require.NoError(t, json.NewDecoder(r.Body).Decode(a), "%s %s", method, url)
	return a
}

func (s *site) token(size string) string {
	s.t.Helper()
	status, text := s.get(s.http.URL + "/new?size=" + size)
	require.Equal(s.t, http.StatusOK, status)
	require.Regexp(s.t, "^"+s.http.URL+"/[0-9a-f]{32}$", text)
	return text
}

// joinCluster is what a member does, step by step as etcd's v2discovery. It
// returns the members it found.
func joinCluster(t *testing.T, token, id, value string, size int) []string {
	t.Helper()
	ctx := t.Context()
	const get = "?quorum=false&recursive=false&sorted=false"
	require.Equal(t, fmt.Sprint(size), keys(ctx, t, "GET", token+"/_config/size"+get, "").Node.Value)
	made := keys(ctx, t, "PUT", token+"/"+id+"?prevExist=false", url.Values{"value": {value}}.Encode())
	require.Equal(t, 201, made.status)
	require.Equal(t, "create", made.Action)
	self := keys(ctx, t, "GET", fmt.Sprintf("%s/%s?recursive=false&wait=true&waitIndex=%d", token, id, made.Node.CreatedIndex), "")
	require.Equal(t, value, self.Node.Value)
	all := keys(ctx, t, "GET", token+get, "")
	require.True(t, all.Node.Dir)
	var found []string
	for _, n := range all.Node.Nodes {
		found = append(found, n.Value)
	}
	for index := all.index; len(found) < size; index++ {
		next := keys(ctx, t, "GET", fmt.Sprintf("%s?recursive=true&wait=true&waitIndex=%d", token, index+1), "")
		found = append(found, next.Node.Value)
	}
	return found[:size]
}

func TestDiscovery(t *testing.T) {
	s := newSite(t)
	token := s.token("3")
	found := make([][]string, 3)
	var members sync.WaitGroup
	for i := range 3 {
		members.Go(func() {
			found[i] = joinCluster(t, token, fmt.Sprintf("%x", 0xa0+i), fmt.Sprintf("m%d=http://127.0.0.1:238%d", i, i), 3)
		})
	}
	members.Wait()
	assert.ElementsMatch(t, []string{"m0=http://127.0.0.1:2380", "m1=http://127.0.0.1:2381", "m2=http://127.0.0.1:2382"}, found[0])
	assert.Equal(t, found[0], found[1], "in the same order")
	assert.Equal(t, found[0], found[2])

	again := keys(t.Context(), t, "PUT", token+"/a0?prevExist=false", "value=m0")
	assert.Equal(t, 412, again.status)
	assert.Equal(t, 105, again.ErrorCode, "etcd says: duplicate ID")
	path := strings.TrimPrefix(token, s.http.URL)
	s.restart()
	assert.Len(t, keys(t.Context(), t, "GET", s.http.URL+path, "").Node.Nodes, 3, "kept over a restart")
	_, text := s.get(s.http.URL + server.MetricsPath)
	assert.Contains(t, text, "slipway_discovery_tokens 1\n")

	s.now = s.now.Add(8 * 24 * time.Hour)
	gone := keys(t.Context(), t, "GET", s.http.URL+path+"/_config/size", "")
	assert.Equal(t, 404, gone.status)
	assert.Equal(t, 100, gone.ErrorCode, "etcd says: size key not found")
	require.NoError(t, s.s.Sweep())
	_, text = s.get(s.http.URL + server.MetricsPath)
	assert.Contains(t, text, "slipway_discovery_tokens 0\n")
}

// What waits for members ends when the server stops in order.
func TestDiscoveryEndsWithTheServer(t *testing.T) {
	s := newSite(t)
	token := strings.TrimPrefix(s.token("2"), s.http.URL)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := s.s.HTTP()
	served := make(chan error, 1)
	go func() { served <- h.Serve(listener) }()
	answered := make(chan int, 1)
	go func() {
		r, err := http.Get("http://" + listener.Addr().String() + token + "?wait=true&recursive=true")
		if err != nil {
			answered <- 0
			return
		}
		r.Body.Close()
		answered <- r.StatusCode
	}()
	require.Eventually(t, func() bool { return s.s.Waiting() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, h.Shutdown(t.Context()))
	assert.Equal(t, http.StatusOK, <-answered, "with nothing in it, so that etcd asks again")
	assert.ErrorIs(t, <-served, http.ErrServerClosed)
}

func TestDiscoveryRefuses(t *testing.T) {
	s := newSite(t)
	for _, size := range []string{"0", "65", "three", "-1"} {
		status, text := s.get(s.http.URL + "/new?size=" + size)
		assert.Equal(t, 400, status)
		assert.Contains(t, text, "not from 1 to 64")
	}
	token := s.token("1")
	none := s.http.URL + "/" + strings.Repeat("0", 32)
	for _, c := range []struct {
		method, url, form string
		status, code      int
	}{
		{"GET", none, "", 404, 100},
		{"PUT", none + "/a", "value=x", 404, 100},
		{"GET", none + "?wait=true", "", 404, 100},
		{"GET", token + "/b", "", 404, 100},
		{"PUT", token + "/a", "", 400, 209},
		{"PUT", token + "/a", "value=" + strings.Repeat("x", 5000), 400, 209},
		{"PUT", token + "/a", "value=" + strings.Repeat("x", 50000), 400, 210},
		{"PUT", token + "/a", "value=%zz", 400, 210},
		{"GET", token + "?wait=true&waitIndex=x", "", 400, 203},
	} {
		a := keys(t.Context(), t, c.method, c.url, c.form)
		assert.Equal(t, c.status, a.status, c)
		assert.Equal(t, c.code, a.ErrorCode, c)
	}
	for i := range 65 {
		assert.Equal(t, 201, keys(t.Context(), t, "PUT", fmt.Sprintf("%s/%x", token, i), "value=m").status)
	}
	assert.Equal(t, 403, keys(t.Context(), t, "PUT", token+"/fff", "value=m").status)
	for _, url := range []string{token + "/_config", token + "/a/b", token + "/xyz", token + "0", s.http.URL + "/v2/keys"} {
		status, _ := s.get(url)
		assert.Equal(t, 404, status, url)
	}
	q, err := http.NewRequest(http.MethodDelete, token+"/a", nil)
	require.NoError(t, err)
	r, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	r.Body.Close()
	assert.Equal(t, 405, r.StatusCode)
}
