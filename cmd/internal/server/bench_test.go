package server_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
	"slipway/signing/omaha"
)

const (
	// benchMachines is how many machines the server knows.
	benchMachines = 100_000
	// clients is how many of them ask at the same time, to find the rate.
	clients = 256
	// benchRate is how many ask in a second, to find how long they wait.
	benchRate = 5000
)

// BenchmarkUpdateCheck has machines ask a server that knows 100 000 of them,
// and for comparison a bare handler that reads the same XML and writes it back.
// Neither has a network below it: what differs is the server's own work. In
// "busy", machines ask as fast as they are answered, and checks/s-2cpus is how
// many two idle processors would answer, by the processor time taken; in
// "steady", 5 000 ask in a second, and p99 counts from when they wanted to.
func BenchmarkUpdateCheck(b *testing.B) {
	s := &site{t: new(testing.T), dir: b.TempDir(), now: time.Now()}
	s.database = s.dir + "/machines.db"
	s.release("alpha", "1.0.0", "payload", nil)
	srv, err := server.New(s.options())
	require.NoError(b, err)
	b.Cleanup(func() { srv.Close() })
	handler := srv.Handler()
	check := checks(b)
	saturate(benchMachines, func(n int) { check(handler, n) })

	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q omaha.Request
		if err := xml.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = xml.NewEncoder(w).Encode(&q)
	})
	for _, c := range []struct {
		name string
		h    http.Handler
	}{{"slipway", handler}, {"echo", echo}} {
		b.Run("busy/"+c.name, func(b *testing.B) {
			load(b, saturate, func(n int) { check(c.h, n*7919) })
		})
		b.Run("steady/"+c.name, func(b *testing.B) {
			load(b, pace, func(n int) { check(c.h, n*7919) })
		})
	}
	st, err := os.Stat(s.database)
	require.NoError(b, err)
	b.Logf("%d machines take %d bytes on disk", benchMachines, st.Size())
}

// checks gives what has machine n ask a handler. The requests are made
// beforehand, but for the machine's id.
func checks(b *testing.B) func(h http.Handler, n int) {
	var text bytes.Buffer
	require.NoError(b, omaha.Encode(&text, &omaha.Request{Protocol: omaha.Protocol, Apps: []*omaha.App{machine("MACHINE", "0.1.0")}}))
	before, after, found := strings.Cut(text.String(), "MACHINE")
	require.True(b, found)
	return func(h http.Handler, n int) {
		body := strings.NewReader(before + fmt.Sprintf("machine-%d", n%benchMachines) + after)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, server.UpdatePath, body))
		if w.Code != http.StatusOK {
			b.Errorf("status %d", w.Code)
		}
	}
}

// saturate does things, numbered from 1, as fast as they get done. It returns
// how long each took.
func saturate(n int, do func(int)) []time.Duration {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				start := time.Now()
				do(int(i))
				took[i-1] = time.Since(start)
			}
		})
	}
	wg.Wait()
	return took
}

// pace does things at benchRate, whether those before are done or not. It
// returns how long each took from the moment that was its own.
func pace(n int, do func(int)) []time.Duration {
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range n {
		at := start.Add(time.Duration(i) * time.Second / benchRate)
		time.Sleep(time.Until(at))
		wg.Go(func() {
			do(i + 1)
			took[i] = time.Since(at)
		})
	}
	wg.Wait()
	return took
}

// load reports requests a second, the slowest of a hundred, and processor time
// for each.
func load(b *testing.B, how func(int, func(int)) []time.Duration, do func(int)) {
	before, start := cpu(), time.Now()
	took := how(b.N, do)
	seconds := time.Since(start).Seconds()
	each := float64((cpu() - before).Microseconds()) / float64(b.N)
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/seconds, "checks/s")
	b.ReportMetric(2e6/each, "checks/s-2cpus")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(each, "cpu-us/op")
	b.ReportMetric(0, "ns/op")
}

// cpu is the processor time this process took.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
