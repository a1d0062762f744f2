package main_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/cmd/internal/server"
	slipway "slipway/cmd/slipway"
	"slipway/signing/omaha"
)

// asSlipway in the environment makes the test binary the program itself, for
// tests that need a process of its own.
const asSlipway = "SLIPWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asSlipway) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := slipway.Main(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// serving is a process that runs "slipway serve".
type serving struct {
	cmd *exec.Cmd
	url string
	dir string
}

// siteDir makes a directory of releases with one version of alpha.
func siteDir(t testing.TB, version string, payload []byte) string {
	t.Helper()
	dir := t.TempDir()
	stage, err := release.NewStage(dir, "alpha", version)
	require.NoError(t, err)
	defer stage.Close()
	require.NoError(t, os.WriteFile(filepath.Join(stage.Dir, release.Payload), payload, 0o644))
	entry, err := release.Describe(stage.Dir, release.Payload, 1, true)
	require.NoError(t, err)
	text, err := (&release.Info{
		Format: 1, Name: "slipway", Version: version, Channel: "alpha", Architecture: "amd64", Files: []release.Entry{entry},
	}).Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(stage.Dir, release.Manifest), text, 0o644))
	require.NoError(t, stage.Place())
	_, err = stage.Link()
	require.NoError(t, err)
	return dir
}

// startServing starts the process and waits until it answers.
func startServing(t testing.TB, dir string, args ...string) *serving {
	t.Helper()
	s := &serving{dir: dir}
	s.cmd = exec.Command(os.Args[0], append([]string{"serve", "--listen", "127.0.0.1:0", "--releases", dir}, args...)...)
	s.cmd.Env = append(os.Environ(), asSlipway+"=1")
	stderr, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(s.kill)
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	require.NoError(t, err, line)
	found := regexp.MustCompile(`msg=serving address=(\S+) .*tls=(\w+)`).FindStringSubmatch(line)
	require.NotNil(t, found, line)
	s.url = "http://" + found[1]
	if found[2] == "true" {
		s.url = "https://" + found[1]
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // until the process ends
	return s
}

// kill ends the process as a power cut would.
func (s *serving) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// ask posts a request for one machine. An error is a server that does not
// answer.
func (s *serving) ask(client *http.Client, app *omaha.App) (*omaha.AppResponse, error) {
	var b bytes.Buffer
	if err := omaha.Encode(&b, &omaha.Request{Protocol: omaha.Protocol, Apps: []*omaha.App{app}}); err != nil {
		return nil, err
	}
	r, err := client.Post(s.url+server.UpdatePath, "text/xml", &b)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", r.Status)
	}
	p, err := omaha.ReadResponse(r.Body)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, r.Body) // the connection can be used again
	if len(p.Apps) != 1 {
		return nil, fmt.Errorf("%d answers", len(p.Apps))
	}
	return p.Apps[0], nil
}

// client is a machine of the site.
func client(id, version string, check bool, events ...*omaha.Event) *omaha.App {
	app := &omaha.App{
		ID: "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}", MachineID: id, Version: version,
		Track: "alpha", Board: "amd64-usr", Events: events,
	}
	if check {
		app.UpdateCheck, app.Ping = &omaha.UpdateCheck{}, &omaha.Ping{Active: 1}
	}
	return app
}

// A server that is killed under load knows afterwards every report that it has
// acknowledged: none of the machines is offered again what failed on it.
func TestServeKilledUnderLoad(t *testing.T) {
	dir := siteDir(t, "2.0.0", []byte("payload"))
	var acknowledged []string
	for round := range 4 {
		s := startServing(t, dir)
		var mu sync.Mutex
		var count atomic.Int64
		var reporters sync.WaitGroup
		for n := range 32 {
			reporters.Go(func() {
				http := &http.Client{Transport: &http.Transport{}}
				for i := 0; ; i++ {
					id := fmt.Sprintf("machine-%d-%d-%d", round, n, i)
					rollback := &omaha.Event{ErrorCode: 44, Type: omaha.EventUpdateComplete, PreviousVersion: "2.0.0"}
					if _, err := s.ask(http, client(id, "1.0.0", false, rollback)); err != nil {
						return // it is dead
					}
					mu.Lock()
					acknowledged = append(acknowledged, id)
					mu.Unlock()
					if count.Add(1) == int64(200+100*round) {
						s.kill() // in the middle of the others' reports
					}
				}
			})
		}
		reporters.Wait()
	}
	s := startServing(t, dir)
	for _, id := range acknowledged {
		answer, err := s.ask(http.DefaultClient, client(id, "1.0.0", true))
		require.NoError(t, err)
		require.Equal(t, omaha.StatusNoUpdate, answer.UpdateCheck.Status, "%s: what it reported is lost", id)
	}
	answer, err := s.ask(http.DefaultClient, client("another", "1.0.0", true))
	require.NoError(t, err)
	assert.Equal(t, omaha.StatusOK, answer.UpdateCheck.Status)
	t.Logf("%d reports survived 4 kills", len(acknowledged))
}

// Ctrl-C ends the server in order, though somebody hangs in a download.
func TestServeStops(t *testing.T) {
	s := startServing(t, siteDir(t, "2.0.0", bytes.Repeat([]byte("payload "), 4<<20)))
	r, err := http.Get(s.url + "/releases/alpha/current/update.payload")
	require.NoError(t, err)
	defer r.Body.Close()
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, r.Body)
	require.NoError(t, err, "what has begun is finished")
	require.NoError(t, s.cmd.Wait())
}

// writeCertificate writes a certificate for loopback that the test trusts.
func writeCertificate(t *testing.T, cert, key string, serial int64) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return parsed
}

func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	first := writeCertificate(t, cert, key, 1)
	s := startServing(t, siteDir(t, "2.0.0", []byte("payload")), "--tls-cert", cert, "--tls-key", key)
	get := func(trusted *x509.Certificate) (*http.Response, error) {
		pool := x509.NewCertPool()
		pool.AddCert(trusted)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
		r, err := client.Get(s.url + server.HealthPath)
		if err == nil {
			r.Body.Close()
		}
		return r, err
	}
	r, err := get(first)
	require.NoError(t, err)
	assert.Equal(t, "HTTP/2.0", r.Proto)

	require.NoError(t, os.WriteFile(cert, []byte("half writ"), 0o644))
	_, err = get(first)
	require.NoError(t, err, "the old one serves on")
	second := writeCertificate(t, cert, key, 2)
	require.NoError(t, os.Chtimes(cert, time.Time{}, time.Now().Add(time.Minute))) // whatever the clock's grain
	_, err = get(second)
	require.NoError(t, err, "renewed")
	_, err = get(first)
	assert.True(t, errors.As(err, new(x509.UnknownAuthorityError)), "%v", err)
}

func TestServeRefuses(t *testing.T) {
	dir := siteDir(t, "2.0.0", []byte("payload"))
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--releases", filepath.Join(dir, "none")}, 1, "hint: slipway build makes releases"},
		{[]string{"--tls-cert", "x"}, 2, "--tls-cert and --tls-key belong together"},
		{[]string{"--tls-cert", "x", "--tls-key", "y"}, 1, "slipway: serve: open x: no such file"},
		{[]string{"--listen", "300.0.0.1:1"}, 1, "hint: --listen 127.0.0.1:0"},
		{[]string{"--pub", filepath.Join(dir, "none")}, 1, "no such file"},
	} {
		status, _, stderr := run(t, append([]string{"serve", "--releases", dir}, c.args...)...)
		assert.Equal(t, c.status, status, c.args)
		assert.Contains(t, stderr, c.want)
		assert.Equal(t, 1, strings.Count(stderr, "slipway: "), stderr)
	}
	s := startServing(t, dir)
	status, _, stderr := run(t, "serve", "--releases", dir, "--listen", strings.TrimPrefix(s.url, "http://"))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, ".machines.db: in use by another server")
	require.NoError(t, s.cmd.Process.Signal(syscall.Signal(0)))
}
