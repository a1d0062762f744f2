package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
)

// freeAddresses are addresses of loopback that nobody listens at.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var list []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

// Three members of a real etcd, who know nothing but the address of a token,
// make a cluster; a fourth one is told that it is full; and one that lost its
// data is not let in again under its name.
func TestServeBootstrapsEtcd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real etcd")
	}
	program := etcdtest.Program(t, "etcd")
	s := startServing(t, siteDir(t, "1.0.0", []byte("payload")))
	r, err := http.Get(s.url + "/new?size=3")
	require.NoError(t, err)
	token, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	r.Body.Close()

	addresses := freeAddresses(t, 8)
	member := func(i int) (*exec.Cmd, *bytes.Buffer) {
		client, peer := "http://"+addresses[2*i], "http://"+addresses[2*i+1]
		log := new(bytes.Buffer)
		cmd := exec.CommandContext(t.Context(), program, "--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(t.TempDir(), "data"),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--discovery-fallback", "exit", "--unsafe-no-fsync")
		cmd.Env = []string{"ETCD_DISCOVERY=" + string(token)} // as a unit of the image sets it
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd, log
	}
	var first *exec.Cmd
	for i := range 3 {
		cmd, _ := member(i)
		if i == 0 {
			first = cmd
		}
	}
	members := func() (n int) {
		r, err := http.Post("http://"+addresses[0]+"/v3/cluster/member/list", "application/json", bytes.NewReader([]byte("{}")))
		if err != nil {
			return 0
		}
		defer r.Body.Close()
		var list struct{ Members []struct{ Name string } }
		_ = json.NewDecoder(r.Body).Decode(&list)
		for _, m := range list.Members {
			if m.Name != "" {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return members() == 3 }, 2*time.Minute, 200*time.Millisecond)
	r, err = http.Post("http://"+addresses[2]+"/v3/kv/put", "application/json", bytes.NewReader([]byte(`{"key":"Zm9v","value":"YmFy"}`)))
	require.NoError(t, err)
	r.Body.Close()
	assert.Equal(t, http.StatusOK, r.StatusCode, "it has a leader")

	late, log := member(3)
	assert.Error(t, late.Wait())
	assert.Contains(t, log.String(), "cluster is full")
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	lost, log := member(0)
	assert.Error(t, lost.Wait())
	assert.Regexp(t, "found duplicate id", log.String())
}
