package server_test

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/cmd/internal/server"
	"slipway/signing/key"
	"slipway/signing/omaha"
)

const appID = "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}"

// site is a server with its directory of releases and a clock.
type site struct {
	t        *testing.T
	dir      string
	database string
	now      time.Time
	keys     []key.Key // whose pointers are believed
	s        *server.Server
	http     *httptest.Server
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir(), database: filepath.Join(t.TempDir(), "machines.db"), now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	s.release("alpha", "1.0.0", "full one", nil)
	s.start()
	return s
}

func (s *site) options() *server.Options {
	return &server.Options{
		Releases: s.dir, Database: s.database, PollInterval: time.Hour, Random: rand.Reader,
		Now: func() time.Time { return s.now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Keys: func(time.Time) []key.Key { return s.keys },
	}
}

// start starts the server, again after stop.
func (s *site) start() {
	s.t.Helper()
	var err error
	s.s, err = server.New(s.options())
	require.NoError(s.t, err)
	s.http = httptest.NewServer(s.s.Handler())
	s.t.Cleanup(s.stop)
}

// stop stops the server; its database stays.
func (s *site) stop() {
	if s.s != nil {
		s.http.Close()
		assert.NoError(s.t, s.s.Close())
		s.s = nil
	}
}

// restart starts the server anew over the same database.
func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// release puts a version into a channel and points the channel to it.
func (s *site) release(channel, version, full string, deltas map[string]string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, channel, version)
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	text, err := json.Marshal(&release.Info{Format: 1, Version: version, Channel: channel, Architecture: "amd64"})
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, release.Manifest), text, 0o644))
	if full != "" {
		require.NoError(s.t, os.WriteFile(filepath.Join(dir, release.Payload), []byte(full), 0o644))
	}
	for from, content := range deltas {
		name := filepath.Join(dir, "update-from-"+from+".payload")
		require.NoError(s.t, os.WriteFile(name, []byte(content), 0o644))
	}
	current := filepath.Join(s.dir, channel, "current")
	_ = os.Remove(current)
	require.NoError(s.t, os.Symlink(version, current))
}

func (s *site) rules(text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, "rollout.yaml"), []byte(text), 0o644))
}

func (s *site) reload() {
	s.t.Helper()
	_, err := s.s.Reload()
	require.NoError(s.t, err)
}

// machine asks for an update.
func machine(id, version string) *omaha.App {
	return &omaha.App{
		ID: appID, MachineID: id, Version: version, Track: "alpha", Board: "amd64-usr", DeltaOK: true,
		Ping: &omaha.Ping{Active: 1}, UpdateCheck: &omaha.UpdateCheck{},
	}
}

// post posts a request.
func (s *site) post(q *omaha.Request) (status int, text string) {
	s.t.Helper()
	var b bytes.Buffer
	require.NoError(s.t, omaha.Encode(&b, q))
	r, err := http.Post(s.http.URL+server.UpdatePath, "text/xml", &b)
	require.NoError(s.t, err)
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	return r.StatusCode, string(answer)
}

// ask posts a request and gives the answer.
func (s *site) ask(app *omaha.App) *omaha.UpdateCheckResponse {
	s.t.Helper()
	status, text := s.post(&omaha.Request{Protocol: omaha.Protocol, Apps: []*omaha.App{app}})
	require.Equal(s.t, http.StatusOK, status)
	p, err := omaha.ReadResponse(strings.NewReader(text))
	require.NoError(s.t, err)
	answer, ok := p.App(appID)
	require.True(s.t, ok)
	assert.Len(s.t, answer.Events, len(app.Events))
	return answer.UpdateCheck
}

// offered gives the version a machine is offered, "" for none.
func (s *site) offered(app *omaha.App) string {
	s.t.Helper()
	u, err := s.ask(app).Update()
	if err != nil {
		require.ErrorIs(s.t, err, omaha.ErrNoUpdate)
		return ""
	}
	return u.Version
}

func (s *site) get(url string, header ...string) (int, string) {
	s.t.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	r, err := http.DefaultClient.Do(q)
	require.NoError(s.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	return r.StatusCode, string(text)
}

func TestOfferLeadsToThePayload(t *testing.T) {
	s := newSite(t)
	s.release("alpha", "2.0.0", "full two", map[string]string{"1.0.0": "delta"})
	s.reload()
	for _, c := range []struct {
		app   *omaha.App
		want  string
		delta bool
	}{
		{machine("a", "1.0.0"), "delta", true},
		{&omaha.App{ID: appID, MachineID: "b", Version: "1.0.0", Track: "alpha", UpdateCheck: &omaha.UpdateCheck{}}, "full two", false},
		{machine("c", "0.9.0"), "full two", false},
	} {
		check := s.ask(c.app)
		assert.Equal(t, 3600, check.PollInterval)
		u, err := check.Update()
		require.NoError(t, err)
		assert.Equal(t, "2.0.0", u.Version)
		assert.Equal(t, c.delta, u.Delta)
		status, text := s.get(u.URLs[0])
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, c.want, text)
		assert.EqualValues(t, len(text), u.Size)
		assert.Equal(t, hex.EncodeToString(u.SHA256[:]), check.Manifests[0].Packages[0].HashSHA256)
		status, text = s.get(u.URLs[0], "Range", "bytes=3-")
		assert.Equal(t, http.StatusPartialContent, status)
		assert.Equal(t, c.want[3:], text)
	}
	assert.Empty(t, s.offered(machine("d", "2.0.0")), "up to date")
	assert.Empty(t, s.offered(machine("d", "3.0.0")), "newer than the channel")
}

func TestWhoIsNotServed(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		change func(*omaha.App)
		want   string
	}{
		{func(a *omaha.App) { a.Track = "nightly" }, "error-noPackageFound"},
		{func(a *omaha.App) { a.Board = "arm64-usr" }, "error-noPackageFound"},
		{func(a *omaha.App) { a.Version = "new" }, "error-invalidVersion"},
	} {
		app := machine("a", "0.1.0")
		c.change(app)
		assert.Equal(t, c.want, s.ask(app).Status)
	}
}

// machines that would be offered an update, of a thousand.
func (s *site) chosen() map[string]bool {
	list := map[string]bool{}
	for i := range 1000 {
		// As systemd makes machine ids: 128 bits in hex.
		id := fmt.Sprintf("%x", md5.Sum([]byte{byte(i), byte(i >> 8)}))
		if s.s.Decide(machine(id, "0.1.0"), s.now) != "" {
			list[id] = true
		}
	}
	return list
}

// A percentage is met within four standard deviations, the same machines are
// chosen again, and a higher one takes no machine out.
func TestRollOut(t *testing.T) {
	s := newSite(t)
	before := map[string]bool{}
	for _, percent := range []float64{0, 0.5, 1, 5, 10, 25, 50, 75, 90, 99, 100} {
		s.rules(fmt.Sprintf("alpha: {percent: %g}\n", percent))
		s.reload()
		now := s.chosen()
		deviation := math.Sqrt(1000 * percent / 100 * (1 - percent/100))
		assert.InDelta(t, 10*percent, len(now), 4*deviation, "%g %%", percent)
		assert.Equal(t, now, s.chosen(), "the same machines again")
		for id := range before {
			assert.True(t, now[id], "%s is out at %g %%", id, percent)
		}
		before = now
	}
	s.rules("alpha: {percent: 50}\n")
	s.reload()
	first := s.chosen()
	assert.Empty(t, s.offered(machine("", "0.1.0")), "without an id")
	s.release("alpha", "1.0.1", "full", nil)
	s.reload()
	both := 0
	for id := range s.chosen() {
		if first[id] {
			both++
		}
	}
	assert.InDelta(t, 250, both, 65, "others go first with another version")
	s.rules("alpha: {paused: true}\n")
	s.reload()
	assert.Empty(t, s.chosen())
	require.NoError(t, os.Remove(filepath.Join(s.dir, "rollout.yaml")))
	s.reload()
	assert.Len(t, s.chosen(), 1000)
}

func TestFloorsAreNotSkipped(t *testing.T) {
	s := newSite(t)
	s.release("alpha", "2.0.0", "two", nil)
	s.release("alpha", "3.0.0", "three", nil)
	s.rules("alpha: {floors: [2.0.0, 1.0.0], percent: 0}\n")
	s.reload()
	assert.Equal(t, "1.0.0", s.offered(machine("a", "0.5.0")), "a floor is for everyone")
	assert.Equal(t, "2.0.0", s.offered(machine("a", "1.0.0")))
	assert.Empty(t, s.offered(machine("a", "2.0.0")))
	assert.True(t, s.ask(machine("a", "1.0.0")).Manifests[0].IsFloor)
}

func event(kind omaha.EventType, result omaha.EventResult, code int) []*omaha.Event {
	return []*omaha.Event{{Type: kind, Result: result, ErrorCode: code}}
}

func TestFailedVersionIsNotOfferedAtOnce(t *testing.T) {
	s := newSite(t)
	require.Equal(t, "1.0.0", s.offered(machine("a", "0.1.0")))
	rolledBack := machine("a", "0.1.0")
	rolledBack.Events = event(omaha.EventUpdateComplete, omaha.ResultError, 44)
	assert.Empty(t, s.offered(rolledBack), "at once")
	s.now = s.now.Add(23 * time.Hour)
	assert.Empty(t, s.offered(machine("a", "0.1.0")))
	s.now = s.now.Add(2 * time.Hour)
	assert.Equal(t, "1.0.0", s.offered(machine("a", "0.1.0")))
	assert.Empty(t, s.offered(rolledBack))
	s.now = s.now.Add(25 * time.Hour)
	assert.Empty(t, s.offered(machine("a", "0.1.0")), "twice as long the second time")
	s.release("alpha", "1.0.1", "mended", nil)
	s.reload()
	assert.Equal(t, "1.0.1", s.offered(machine("a", "0.1.0")), "another version is another chance")
	assert.Equal(t, "1.0.1", s.offered(machine("b", "0.1.0")))
}

func TestProgressIsFollowed(t *testing.T) {
	s := newSite(t)
	s.offered(machine("a", "0.1.0"))
	assert.Equal(t, server.Offered, s.s.Machine("a").State)
	for _, step := range []struct {
		events []*omaha.Event
		want   server.State
	}{
		{event(omaha.EventDownloadStarted, omaha.ResultSuccess, 0), server.Downloading},
		{event(omaha.EventDownloadFinished, omaha.ResultSuccess, 0), server.Downloaded},
		{event(omaha.EventUpdateComplete, omaha.ResultSuccess, 0), server.Installed},
	} {
		app := machine("a", "0.1.0")
		app.UpdateCheck, app.Events = nil, step.events
		s.ask(app)
		assert.Equal(t, step.want, s.s.Machine("a").State)
	}
	app := machine("a", "1.0.0")
	app.Events = event(omaha.EventUpdateComplete, omaha.ResultSuccessReboot, 0)
	s.ask(app)
	assert.Equal(t, server.Idle, s.s.Machine("a").State)
	_, text := s.get(s.http.URL + server.MetricsPath)
	assert.Contains(t, text, `slipway_machines{channel="alpha",version="1.0.0",state=""} 1`)
	assert.Contains(t, text, `slipway_events_total{event="update complete",result="success after reboot"} 1`)
	assert.Contains(t, text, `slipway_update_checks_total{answer="full"} 1`)
}

func TestPages(t *testing.T) {
	s := newSite(t)
	bad := machine("<script>", "0.1.0")
	bad.Track = "<b>"
	s.ask(bad)
	failed := machine("a", "0.1.0")
	failed.Events = event(omaha.EventUpdateComplete, omaha.ResultError, 44)
	s.ask(failed)
	s.ask(machine("c", "0.1.0"))
	s.now = s.now.Add(time.Hour)
	status, page := s.get(s.http.URL + "/")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, page, "Machines: 3, 3 of them seen within a day")
	assert.Contains(t, page, "<td>alpha</td><td>1.0.0</td><td>amd64</td><td>unsigned</td><td>100 %</td>")
	assert.Contains(t, page, `<td>unknown</td><td>44: was started and given up</td><td class="n">1</td>`)
	assert.Contains(t, page, `<h2>Updates in flight</h2>
<table><tr><th>Channel</th><th>To</th><th>Update</th><th>Longest</th><th class="n">Machines</th></tr>
<tr><td>alpha</td><td>1.0.0</td><td>offered</td><td>1h0m0s</td><td class="n">1</td></tr>`)
	assert.NotContains(t, page, "<b>")
	status, text := s.get(s.http.URL + server.HealthPath)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", text)
	status, _ = s.get(s.http.URL + "/v2/")
	assert.Equal(t, http.StatusNotFound, status)
}

func TestFilesStayInside(t *testing.T) {
	s := newSite(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
	require.NoError(t, os.Symlink(secret, filepath.Join(s.dir, "alpha", "link")))
	for _, path := range []string{"alpha/link", "alpha/", "alpha/1.0.0", "..%2f..%2fetc/passwd", "alpha/none"} {
		status, text := s.get(s.http.URL + server.ReleasesPath + path)
		assert.Equal(t, http.StatusNotFound, status, path)
		assert.NotContains(t, text, "secret")
	}
	status, text := s.get(s.http.URL + server.ReleasesPath + "alpha/current/update.payload")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "full one", text)
}

func TestBadRequests(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{"", "hello", `<request protocol="2.0"/>`, string(bytes.Repeat([]byte("x"), omaha.MaxSize+1))} {
		r, err := http.Post(s.http.URL+server.UpdatePath, "text/xml", bytes.NewReader([]byte(text)))
		require.NoError(t, err)
		r.Body.Close()
		assert.Equal(t, http.StatusBadRequest, r.StatusCode)
	}
}

func TestBadRulesKeepTheOldOnes(t *testing.T) {
	s := newSite(t)
	for text, want := range map[string]string{
		"alpha: {percent: 101}\n":    "rollout.yaml: alpha: percent 101: not from 0 to 100",
		"alpha: {floors: [one]}\n":   `rollout.yaml: alpha: floor "one": not MAJOR.MINOR.PATCH`,
		"alpha: {floors: [0.5.0]}\n": "channel alpha: floor 0.5.0: no payload: build or fetch that release",
		"alpha: {speed: 1}\n":        `unknown field "speed"`,
	} {
		s.rules(text)
		_, err := s.s.Reload()
		assert.ErrorContains(t, err, want)
		assert.Equal(t, "1.0.0", s.offered(machine("a", "0.1.0")))
	}
}

func TestDatabaseInUse(t *testing.T) {
	s := newSite(t)
	_, err := server.New(&server.Options{Releases: s.dir, Database: s.s.Database(), Now: time.Now})
	assert.EqualError(t, err, "database "+s.s.Database()+": in use by another server")
}

// A server that has nothing to offer yet answers all the same.
func TestNoReleases(t *testing.T) {
	s := &site{t: t, dir: t.TempDir(), database: filepath.Join(t.TempDir(), "machines.db"), now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	s.start()
	r, err := http.Get(s.http.URL + "/")
	require.NoError(t, err)
	defer r.Body.Close()
	assert.Equal(t, http.StatusOK, r.StatusCode)
	assert.Equal(t, "error-noPackageFound", s.ask(machine("m", "1.0.0")).Status)
	s.release("alpha", "1.0.1", "full", nil)
	s.reload()
	assert.Equal(t, omaha.StatusOK, s.ask(machine("m", "1.0.0")).Status)
}
