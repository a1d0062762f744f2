// Package server answers machines that ask for updates: the Omaha endpoint,
// the payload files, and pages that show how a roll-out goes.
//
// It serves a directory of releases as "slipway build" makes it, with one
// directory for each channel. Which version a channel gives is the link
// "current" in there; how many machines get it, and which versions must not be
// skipped, is in the file rollout.yaml beside the channels (see [Rules]). Both
// are looked at again while the server runs.
//
// What machines report is kept in one database file, so that a server that is
// killed and started again knows what it knew. Answers are not signed and need
// not be: machines believe the signatures in payloads only.
//
// The package does not make or promote releases.
package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"slipway/signing/omaha"
)

// Paths that the server answers.
const (
	UpdatePath   = "/v1/update/"
	ReleasesPath = "/releases/"
	HealthPath   = "/healthz"
	MetricsPath  = "/metrics"
)

// Options says what a server needs.
type Options struct {
	Releases string // directory of channels
	Database string // path of the file that keeps the machines
	// URL is where machines find this server, such as
	// "https://updates.example.net"; "" takes the host they asked.
	URL string
	// PollInterval is told to machines; 0 leaves it to them.
	PollInterval time.Duration
	Now          func() time.Time
	Log          *slog.Logger
}

// Server is a running server.
type Server struct {
	o       *Options
	root    *os.Root
	catalog *catalog
	store   *store
	metrics *counters
}

// New opens the releases and the database. Close the server when done.
func New(o *Options) (_ *Server, err error) {
	s := &Server{o: o, metrics: newCounters()}
	if s.root, err = os.OpenRoot(o.Releases); err != nil {
		return nil, err
	}
	if s.catalog, err = openCatalog(s.root, o.Releases); err != nil {
		return nil, errors.Join(err, s.root.Close())
	}
	if s.store, err = openStore(o.Database); err != nil {
		return nil, errors.Join(err, s.root.Close())
	}
	return s, nil
}

// Close writes what is left to write.
func (s *Server) Close() error { return errors.Join(s.store.close(), s.root.Close()) }

// Watch looks for new releases and rules until the context ends. What cannot
// be read is logged, and what was there before stays in force.
func (s *Server) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := s.catalog.reload()
		if err != nil {
			s.o.Log.Error("releases not read again", "error", err)
		} else if changed {
			s.o.Log.Info("releases changed")
		}
	}
}

// Handler answers everything the server answers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+UpdatePath, s.update)
	mux.HandleFunc("POST "+strings.TrimSuffix(UpdatePath, "/"), s.update)
	mux.Handle("GET "+ReleasesPath, http.StripPrefix(ReleasesPath, s.files()))
	mux.HandleFunc("GET "+HealthPath, s.health)
	mux.Handle("GET "+MetricsPath, s.metrics.handler(s.store))
	mux.HandleFunc("GET /{$}", s.status)
	return mux
}

// health says whether the server can do its work.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.store.check(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// update answers the Omaha endpoint.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	start := s.o.Now()
	q, err := omaha.ReadRequest(http.MaxBytesReader(w, r.Body, omaha.MaxSize))
	if err != nil {
		s.metrics.refused.Inc()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p := &omaha.Response{Protocol: omaha.Protocol, Server: "slipway", DayStart: dayStart(start)}
	for _, app := range q.Apps {
		answer, err := s.app(r.Context(), q, app, s.base(r), start)
		if err != nil {
			s.o.Log.Error("update check not answered", "machine", app.MachineID, "error", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		p.Apps = append(p.Apps, answer)
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	if err := omaha.Encode(w, p); err != nil {
		s.o.Log.Debug("answer not delivered", "error", err)
	}
}

// dayStart is the server's clock, as Omaha tells it.
func dayStart(now time.Time) *omaha.DayStart {
	y, m, d := now.UTC().Date()
	return &omaha.DayStart{ElapsedSeconds: int(now.Sub(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)).Seconds())}
}

// app takes down what a machine reports and answers it. The report is on disk
// when app returns.
func (s *Server) app(ctx context.Context, q *omaha.Request, app *omaha.App, base string, now time.Time) (*omaha.AppResponse, error) {
	answer := &omaha.AppResponse{ID: app.ID, Status: omaha.StatusOK}
	if app.Ping != nil {
		answer.Ping = &omaha.Status{Status: omaha.StatusOK}
	}
	for range app.Events {
		answer.Events = append(answer.Events, &omaha.Status{Status: omaha.StatusOK})
	}
	var decided *decision
	m, err := s.store.change(ctx, machineID(app.MachineID), func(m *Machine) {
		m.see(app, now)
		for _, e := range app.Events {
			m.apply(e, now)
		}
		if app.UpdateCheck != nil {
			decided = decide(s.catalog.get(), &question{app: app, machine: m, now: now})
			m.offered(decided, now)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, e := range app.Events {
		s.metrics.event(e)
		s.o.Log.Info("event", "machine", m.ID, "event", e.Type.String(), "result", e.Result.String(),
			"code", e.ErrorCode, "version", app.Version)
	}
	if decided != nil {
		answer.UpdateCheck = s.answer(decided, base)
		s.metrics.check(decided)
		s.o.Log.Debug("update check", "machine", m.ID, "channel", app.Track, "version", app.Version,
			"source", q.InstallSource, "answer", decided.why)
	}
	return answer, nil
}

// answer puts a decision into Omaha's words.
func (s *Server) answer(d *decision, base string) *omaha.UpdateCheckResponse {
	c := &omaha.UpdateCheckResponse{Status: d.status, PollInterval: int(s.o.PollInterval.Seconds())}
	if d.file == nil {
		return c
	}
	dir, name := path.Split(d.file.Path)
	c.URLs = []*omaha.URL{{CodeBase: base + ReleasesPath + dir}}
	c.Manifests = []*omaha.Manifest{{
		Version: d.version, IsFloor: d.floor,
		Packages: []*omaha.Package{{
			Name: name, Size: d.file.Size, Required: true,
			SHA1:       base64.StdEncoding.EncodeToString(d.file.SHA1[:]),
			HashSHA256: fmt.Sprintf("%x", d.file.SHA256),
		}},
		Actions: []*omaha.Action{{
			Event: "postinstall", SHA256: base64.StdEncoding.EncodeToString(d.file.SHA256[:]),
			IsDelta: d.delta, DisplayVersion: d.version,
		}},
	}}
	return c
}

// base is the address machines find this server at.
func (s *Server) base(r *http.Request) string {
	if s.o.URL != "" {
		return strings.TrimSuffix(s.o.URL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// files serves the files of releases, ranges included. Directories are not
// listed; links lead nowhere outside.
func (s *Server) files() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := s.root.Open(r.URL.Path)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		// A payload of another build under the same name must not be joined
		// to the first half of this one.
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, st.ModTime().UnixNano(), st.Size()))
		counted := &counter{ReadSeeker: f, metrics: s.metrics}
		http.ServeContent(w, r, "", st.ModTime(), counted)
	})
}

// counter counts bytes that are served.
type counter struct {
	io.ReadSeeker
	metrics *counters
}

// Read reads on and counts.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadSeeker.Read(b)
	c.metrics.bytes.Add(n)
	return n, err
}
