package qemutests_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
	"slipway/signing"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// liar is an update server that offers whatever it is told to.
type liar struct {
	*httptest.Server
	mu     sync.Mutex
	offer  string // path of a payload, "" is no update
	as     string // the version it is said to be
	events []string
}

func newLiar(t testing.TB) *liar {
	s := &liar{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// offers has the server offer a payload, and forget what it was told.
func (s *liar) offers(path, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer, s.as, s.events = path, version, nil
}

// told is what machines reported, in short.
func (s *liar) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// ServeHTTP answers machines.
func (s *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	offer, version := s.offer, s.as
	s.mu.Unlock()
	if r.Method == http.MethodGet {
		http.ServeFile(w, r, offer)
		return
	}
	q, err := omaha.ReadRequest(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	app := q.Apps[0]
	answer := &omaha.AppResponse{ID: app.ID, Status: omaha.StatusOK}
	for _, e := range app.Events {
		s.mu.Lock()
		s.events = append(s.events, fmt.Sprintf("%d/%d code %d", e.Type, e.Result, e.ErrorCode))
		s.mu.Unlock()
	}
	if app.UpdateCheck != nil {
		answer.UpdateCheck = offered(offer, version)
	}
	_ = omaha.Encode(w, &omaha.Response{Protocol: omaha.Protocol, Apps: []*omaha.AppResponse{answer}})
}

func offered(path, version string) *omaha.UpdateCheckResponse {
	info, err := os.Stat(path)
	if err != nil {
		return &omaha.UpdateCheckResponse{Status: omaha.StatusNoUpdate}
	}
	name := filepath.Base(path)
	id := make([]byte, 32) // nobody looks at more of it than whether it is the same
	copy(id, name)
	return &omaha.UpdateCheckResponse{
		Status: omaha.StatusOK, URLs: []*omaha.URL{{CodeBase: "http://" + guestServer + "/"}},
		Manifests: []*omaha.Manifest{{
			Version:  version,
			Packages: []*omaha.Package{{Name: name, Size: info.Size(), Required: true}},
			Actions:  []*omaha.Action{{Event: "postinstall", SHA256: base64.StdEncoding.EncodeToString(id)}},
		}},
	}
}

// testRefused offers a machine what it must not install. It says why, tells
// the server, and runs what it ran.
func testRefused(t *testing.T, l *lab) {
	good := l.fullPayload(t, next)
	version := l.variant(t, next).Version
	dir := t.TempDir()
	s := newLiar(t)
	u := &updates{lab: l, wire: newWire(t)}
	u.wire.lead(s.Listener.Addr().String())
	m := l.used(t).boot(t, u.online(lean(&vm.Config{})))
	m.up(t)
	m.asks(t)
	before := m.attributes(t, 3)
	m.offersInterface(t)

	for _, c := range []struct {
		name, path, version, code, said string
	}{
		{"tampered-metadata", tamperedAt(t, good, filepath.Join(dir, "metadata"), 200), version, "26",
			`payload metadata: bad signature by`},
		{"older", l.emptyPayload(t, dir, "1.0.0", "amd64"), "1.0.0", "35", `version 1\.0\.0 is older than ` + l.Version},
		{"other-architecture", l.emptyPayload(t, dir, version, "arm64"), version, "35", `for "arm64", this machine is "amd64"`},
		{"cut", cutShort(t, good, dir), version, "35", `payload: of \d+ bytes, the server said \d+`},
	} {
		s.offers(c.path, c.version)
		status := m.updates(t)
		assert.Contains(t, status, "CURRENT_OP=UPDATE_STATUS_IDLE", c.name)
		assert.Regexp(t, c.said, m.run(t, "journalctl --sync; journalctl -b -n 5 -o cat --no-pager -u update-engine.service"), c.name)
		told := s.told()
		require.NotEmpty(t, told, c.name)
		assert.Regexp(t, `^3/0 code (`+c.code+`)$`, told[len(told)-1], c.name)
		assert.Equal(t, "priority=0 tries=0 successful=0", m.attributes(t, 4), c.name)
		assert.Equal(t, before, m.attributes(t, 3), c.name)
	}

	// A dead network is said so, and forgotten when it is back.
	u.wire.lead("127.0.0.1:1")
	u.wire.cut()
	m.updates(t)
	assert.Contains(t, m.engineLog(t), "update check: ")
	u.wire.lead(s.Listener.Addr().String())
	s.offers("", "")
	assert.Contains(t, m.updates(t), "CURRENT_OP=UPDATE_STATUS_IDLE")
	m.runs(t, "USR-A", l.release)
}

// offersInterface looks at com.coreos.update1 with another program, and with
// the eyes of who may not ask.
func (m *machine) offersInterface(t testing.TB) {
	t.Helper()
	shown := m.run(t, "busctl introspect com.coreos.update1 /com/coreos/update1 com.coreos.update1.Manager | awk '{print $1, $2, $3, $4}'")
	assert.Equal(t, `NAME TYPE SIGNATURE RESULT/VALUE
.AttemptUpdate method - -
.GetStatus method - xdssx
.ResetStatus method - -
.StatusUpdate signal xdssx -`, shown)
	assert.Contains(t, m.run(t, "runuser -u core -- update_engine_client -status"), "CURRENT_OP=UPDATE_STATUS_IDLE")
	out, code := m.try(t, "runuser -u nobody -- update_engine_client -status")
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "update_engine_client: ")
	assert.Equal(t, "CapEff:\t0000000000000000",
		m.run(t, "grep ^CapEff /proc/$(systemctl show -P MainPID update-engine.service)/status"))
}

func tampered(t testing.TB, from, dir string) string {
	info, err := os.Stat(from)
	require.NoError(t, err)
	return tamperedAt(t, from, filepath.Join(dir, "tampered"), info.Size()/3)
}

// tamperedAt copies a payload and changes one bit.
func tamperedAt(t testing.TB, from, to string, at int64) string {
	copyFile(t, from, to)
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	return to
}

// cutShort is a payload whose end is missing, and whose size is what is left.
func cutShort(t testing.TB, from, dir string) string {
	to := filepath.Join(dir, "cut")
	copyFile(t, from, to)
	info, err := os.Stat(to)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(to, info.Size()/2))
	return to
}

// strangePayload is a good one but for who signed it.
func (l *lab) strangePayload(t testing.TB, dir string) string {
	keys := filepath.Join(dir, "stranger")
	l.slipway(t, "keys", "new", "--keys", keys, "--development")
	to := filepath.Join(dir, "other-key")
	l.slipway(t, "payload", "create", "--level", "development", "--keys", keys, "-o", to, l.variant(t, next).dir)
	return to
}

// emptyPayload is signed by the key that machines accept, and makes a slot of
// zeros that says it is of a version and an architecture.
func (l *lab) emptyPayload(t testing.TB, dir, version, architecture string) string {
	config, err := os.UserConfigDir()
	require.NoError(t, err)
	signer, _, err := signing.DevelopmentKey(filepath.Join(config, "slipway", "keys"))
	require.NoError(t, err)
	const size = 1 << 30
	scratch, err := os.CreateTemp(dir, "scratch")
	require.NoError(t, err)
	defer scratch.Close()
	to, err := os.Create(filepath.Join(dir, version+"-"+architecture))
	require.NoError(t, err)
	_, err = payload.Write(t.Context(), to, &payload.WriteOptions{
		Manifest: payload.Manifest{
			Info: payload.Info{Name: "slipway", Version: version, Architecture: architecture, Development: true},
			New:  payload.Image{Size: size},
		},
		Plan: func(yield func(payload.Operation, error) bool) {
			yield(payload.Operation{
				Type: payload.Zero, Dst: []payload.Extent{{Blocks: size / payload.BlockSize}},
			}, nil)
		},
		Signers: []payload.Signer{signer}, Scratch: scratch,
	})
	require.NoError(t, err)
	require.NoError(t, to.Close())
	return to.Name()
}
