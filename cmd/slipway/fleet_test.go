package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
	"slipway/signing/omaha"
)

// fleet is machines without machines: clients that live through an update as
// update_engine does, against a server process.
type fleet struct {
	*serving
	payload [32]byte // SHA-256
	client  *http.Client

	mu   sync.Mutex
	took []time.Duration // of each request
}

// fleetPayload is what each machine downloads, in two ranges: bytes.
const fleetPayload = 256 << 10

// newFleet starts the server. So many connections at most are open at once.
func newFleet(t testing.TB, connections int) *fleet {
	payload := make([]byte, fleetPayload)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(payload)
	return &fleet{
		serving: startServing(t, siteDir(t, "2.0.0", payload)), payload: sha256.Sum256(payload),
		client: &http.Client{
			Timeout:   time.Minute,
			Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections},
		},
	}
}

// timed measures one request. Waiting for one of the connections is not part of
// it: callers are as many as there are connections.
func (f *fleet) timed(do func() error) error {
	start := time.Now()
	err := do()
	took := time.Since(start)
	f.mu.Lock()
	f.took = append(f.took, took)
	f.mu.Unlock()
	return err
}

// say posts a request.
func (f *fleet) say(app *omaha.App) (answer *omaha.AppResponse, err error) {
	err = f.timed(func() (err error) {
		answer, err = f.ask(f.client, app)
		return err
	})
	return answer, err
}

// part downloads a range.
func (f *fleet) part(url string, from, to int64, into *bytes.Buffer) error {
	return f.timed(func() error {
		q, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		r, err := f.client.Do(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusPartialContent {
			return fmt.Errorf("GET %s: %s", url, r.Status)
		}
		_, err = io.Copy(into, r.Body)
		return err
	})
}

// live is the life of one machine: it asks, downloads in two parts, installs,
// restarts and runs the new version.
func (f *fleet) live(id string) error {
	answer, err := f.say(client(id, "1.0.0", true))
	if err != nil {
		return err
	}
	u, err := answer.UpdateCheck.Update()
	if err != nil {
		return err
	}
	event := func(kind omaha.EventType, result omaha.EventResult) *omaha.Event {
		return &omaha.Event{Type: kind, Result: result}
	}
	if _, err := f.say(client(id, "1.0.0", false, event(omaha.EventDownloadStarted, omaha.ResultSuccess))); err != nil {
		return err
	}
	var got bytes.Buffer
	for _, r := range [][2]int64{{0, u.Size / 3}, {u.Size / 3, u.Size}} {
		if err := f.part(u.URLs[0], r[0], r[1], &got); err != nil {
			return err
		}
	}
	if sha256.Sum256(got.Bytes()) != u.SHA256 || u.SHA256 != f.payload {
		return fmt.Errorf("%s: another payload", id)
	}
	for _, e := range []*omaha.Event{
		event(omaha.EventDownloadFinished, omaha.ResultSuccess), event(omaha.EventUpdateComplete, omaha.ResultSuccess),
	} {
		if _, err := f.say(client(id, "1.0.0", false, e)); err != nil {
			return err
		}
	}
	done := event(omaha.EventUpdateComplete, omaha.ResultSuccessReboot)
	done.PreviousVersion = "1.0.0"
	answer, err = f.say(client(id, "2.0.0", true, done))
	if err == nil && answer.UpdateCheck.Status != omaha.StatusNoUpdate {
		err = fmt.Errorf("%s: up to date, but %s", id, answer.UpdateCheck.Status)
	}
	return err
}

// run has machines live, so many at once, until all are done or one fails.
func (f *fleet) run(t testing.TB, machines, atOnce int) time.Duration {
	t.Helper()
	start := time.Now()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := next.Add(1); i <= int64(machines) && failed.Load() == nil; i = next.Add(1) {
				if err := f.live(fmt.Sprintf("%032x", i)); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	return took
}

// arrived checks that the server saw every machine through every step.
func (f *fleet) arrived(t testing.TB, machines int) {
	t.Helper()
	r, err := f.client.Get(f.url + server.MetricsPath)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	for _, line := range []string{
		`slipway_machines{channel="alpha",version="2.0.0",state=""} %d`,
		`slipway_events_total{event="download started",result="success"} %d`,
		`slipway_events_total{event="download finished",result="success"} %d`,
		`slipway_events_total{event="update complete",result="success"} %d`,
		`slipway_events_total{event="update complete",result="success after reboot"} %d`,
		`slipway_update_checks_total{answer="full"} %d`,
		`slipway_update_checks_total{answer="up to date"} %d`,
	} {
		assert.Contains(t, string(text), fmt.Sprintf(line, machines)+"\n")
	}
	assert.Contains(t, string(text), fmt.Sprintf("slipway_payload_bytes_total %d\n", machines*fleetPayload))
}

// memory is the most that the server process ever had resident, in bytes, and
// the processor time it took.
func (s *serving) memory(t testing.TB) (peak int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &peak); err == nil {
			return peak << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// A whole fleet is updated, and the server knows of every machine what became
// of it. Its memory does not follow the number of machines that ask.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("some thousand requests")
	}
	const machines = 500
	f := newFleet(t, 100)
	f.run(t, machines, 100)
	f.arrived(t, machines)
	assert.Less(t, f.memory(t), int64(256<<20))
}

// BenchmarkFleet has 10 000 machines live through an update, 500 at a time, in
// this process against a server in another, over loopback. Both share the
// processors, and the clients take more of them than the server: so the rate is
// a lower bound of what the server can do, and the slowest hundredth of the
// requests, from clients that never pause, an upper one.
func BenchmarkFleet(b *testing.B) {
	const machines, atOnce = 10_000, 500
	for b.Loop() {
		f := newFleet(b, atOnce)
		took := f.run(b, machines, atOnce)
		f.arrived(b, machines)
		peak := f.memory(b)
		f.kill()
		slices.Sort(f.took)
		b.ReportMetric(float64(len(f.took))/took.Seconds(), "requests/s")
		b.ReportMetric(float64(f.took[len(f.took)*99/100].Microseconds())/1e3, "p99-ms")
		b.ReportMetric(float64(f.took[len(f.took)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(peak)/(1<<20), "server-MiB")
		cpu := f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()
		b.ReportMetric(float64(cpu.Microseconds())/float64(len(f.took)), "server-us/request")
		b.ReportMetric(0, "ns/op")
	}
}
