package server_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
	"slipway/signing/omaha"
)

// BenchmarkUpdateCheck has machines ask a server that knows 100 000 of them,
// and for comparison a bare handler that reads the same XML and writes the same
// answer. Clients are in the same process, so half of the time is theirs.
func BenchmarkUpdateCheck(b *testing.B) {
	const machines = 100_000
	dir := b.TempDir()
	t := &testing.T{}
	s := &site{t: t, dir: dir}
	s.release("alpha", "1.0.0", "payload", nil)
	srv, err := server.New(&server.Options{
		Releases: dir, Database: filepath.Join(dir, "machines.db"), Now: time.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(b, err)
	b.Cleanup(func() { srv.Close() })
	ask := func(h http.Handler, n int) {
		var text bytes.Buffer
		app := machine(fmt.Sprintf("machine-%d", n%machines), "0.1.0")
		require.NoError(b, omaha.Encode(&text, &omaha.Request{Protocol: omaha.Protocol, Apps: []*omaha.App{app}}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, server.UpdatePath, &text))
		require.Equal(b, http.StatusOK, w.Code)
	}
	fill(machines, func(n int) { ask(srv.Handler(), n) })

	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q omaha.Request
		if err := xml.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = xml.NewEncoder(w).Encode(&q)
	})
	for name, h := range map[string]http.Handler{"slipway": srv.Handler(), "echo": echo} {
		b.Run(name, func(b *testing.B) { load(b, h, ask) })
	}
	st, err := os.Stat(filepath.Join(dir, "machines.db"))
	require.NoError(b, err)
	b.Logf("%d machines take %d bytes on disk", machines, st.Size())
}

// clients is how many machines ask at the same time.
const clients = 256

func fill(n int, do func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// load reports requests a second, the slowest of a hundred, and processor time
// for each.
func load(b *testing.B, h http.Handler, ask func(http.Handler, int)) {
	took := make([]time.Duration, b.N)
	before, start := cpu(), time.Now()
	fill(b.N, func(n int) {
		at := time.Now()
		ask(h, n*7919)
		took[n-1] = time.Since(at)
	})
	seconds := time.Since(start).Seconds()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/seconds, "checks/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(0, "ns/op")
}

// cpu is the processor time this process took.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
