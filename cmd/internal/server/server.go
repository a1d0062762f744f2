// Package server answers machines that ask for updates: the Omaha endpoint,
// the payload files, and pages that show how a roll-out goes.
//
// It serves a directory of releases as "slipway build" makes it, with one
// directory for each channel. Which version a channel gives says its signed
// pointer, channel.json, or the link "current" if it has none; how many
// machines get it, and which versions must not be skipped, is in the file
// rollout.yaml beside the channels (see [Rules]). Both are looked at again
// while the server runs.
//
// What machines report is kept in one database file, so that a server that is
// killed and started again knows what it knew: a version that failed on too
// many machines stays halted, and a pointer that was replaced cannot be brought
// back. Answers are not signed and need not be: machines believe the signatures
// in payloads only.
//
// It answers etcd's discovery protocol too, by which the members of a new
// cluster find each other.
//
// The package does not make or promote releases.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"slipway/signing/key"
)

// Paths that the server answers.
const (
	UpdatePath   = "/v1/update/"
	ReleasesPath = "/releases/"
	HealthPath   = "/healthz"
	MetricsPath  = "/metrics"
)

// Limits of a connection. A payload may take as long as it makes progress.
const (
	headTime     = 10 * time.Second
	requestTime  = 30 * time.Second
	answerTime   = time.Minute
	idleTime     = 2 * time.Minute
	maxHeadBytes = 16 << 10
)

// sweepInterval is how often the server looks for what to forget.
const sweepInterval = time.Hour

// Options says what a server needs.
type Options struct {
	Releases string // directory of channels
	Database string // path of the file that keeps the machines
	// URL is where machines find this server, such as
	// "https://updates.example.net"; "" takes the host they asked.
	URL string
	// PollInterval is told to machines; 0 leaves it to them.
	PollInterval time.Duration
	// Keys are those whose signature under a channel's pointer counts at a
	// time; nil is none.
	Keys   func(now time.Time) []key.Key
	Now    func() time.Time
	Random io.Reader // for discovery tokens, such as crypto/rand.Reader
	Log    *slog.Logger
}

// Server is a running server.
type Server struct {
	o       *Options
	root    *os.Root
	catalog *catalog
	store   *store
	halts   *halts
	metrics *counters

	discovery *discovery
	stopping  context.Context // ends what waits when the server stops
	stop      context.CancelFunc
}

// New opens the releases and the database. Close the server when done.
func New(o *Options) (_ *Server, err error) {
	s := &Server{o: o, metrics: newCounters()}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.root, err = os.OpenRoot(o.Releases); err != nil {
		return nil, err
	}
	if s.store, err = openStore(o.Database); err != nil {
		return nil, errors.Join(err, s.root.Close())
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open reads what the database and the directory hold.
func (s *Server) open() error {
	pointers, err := openPointers(s.store, s.o)
	if err != nil {
		return err
	}
	if s.halts, err = openHalts(s.store); err != nil {
		return err
	}
	if s.discovery, err = openDiscovery(s.store, s.o); err != nil {
		return err
	}
	if s.catalog, err = openCatalog(s.root, s.o.Releases, pointers, s.o.Log); err != nil {
		return err
	}
	return s.judgeAll(context.Background())
}

// Close writes what is left to write.
func (s *Server) Close() error {
	s.stop()
	return errors.Join(s.store.close(), s.root.Close())
}

// Watch looks for new releases and rules until the context ends, and forgets
// machines that are gone. What cannot be read is logged once, and what was
// there before stays in force.
func (s *Server) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			if err := s.sweep(ctx); err != nil {
				s.o.Log.Error("old entries not forgotten", "error", err)
			}
			continue
		case <-tick.C:
		}
		changed, err := s.reload(ctx)
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			s.o.Log.Error("releases not read again", "error", err)
		case err == nil && changed:
			said = ""
			s.o.Log.Info("releases changed")
		}
	}
}

// reload reads what has changed and judges it anew.
func (s *Server) reload(ctx context.Context) (bool, error) {
	changed, err := s.catalog.reload()
	if changed {
		err = errors.Join(err, s.judgeAll(ctx))
	}
	return changed, err
}

// sweep forgets machines that nobody has seen for long, and old tokens.
func (s *Server) sweep(ctx context.Context) error {
	n, err := s.store.forget(ctx, s.o.Now())
	if n > 0 {
		s.o.Log.Info("machines forgotten", "number", n, "not seen for", forgetAfter)
	}
	return errors.Join(err, s.discovery.sweep(ctx))
}

// Handler answers everything the server answers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+UpdatePath, s.update)
	mux.HandleFunc("POST "+strings.TrimSuffix(UpdatePath, "/"), s.update)
	mux.Handle("GET "+ReleasesPath, http.StripPrefix(ReleasesPath, s.files()))
	mux.HandleFunc("GET "+HealthPath, s.health)
	mux.HandleFunc("GET "+MetricsPath, s.serveMetrics)
	mux.HandleFunc("GET /{$}", s.status)
	mux.HandleFunc("GET "+NewPath, s.newCluster)
	mux.HandleFunc("PUT "+NewPath, s.newCluster)
	mux.HandleFunc("/", s.discover)
	return mux
}

// HTTP is a server with that handler and with limits to what a client may do
// to a connection.
func (s *Server) HTTP() *http.Server {
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headTime, ReadTimeout: requestTime, WriteTimeout: answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeadBytes,
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(s.stop)
	return h
}

// health says whether the server can do its work.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.store.check(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
