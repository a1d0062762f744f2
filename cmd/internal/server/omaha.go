package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"slipway/signing/omaha"
)

// maxApps is how many apps a machine may ask for at once: each is written down.
const maxApps = 16

// update answers the Omaha endpoint.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	start := s.o.Now()
	q, err := omaha.ReadRequest(http.MaxBytesReader(w, r.Body, omaha.MaxSize))
	if err != nil {
		s.metrics.refused.Inc()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(q.Apps) > maxApps {
		s.metrics.refused.Inc()
		http.Error(w, fmt.Sprintf("omaha request: %d apps, want at most %d", len(q.Apps), maxApps), http.StatusBadRequest)
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
	contents := s.catalog.get()
	m, err := s.store.change(ctx, machineID(app.MachineID), func(m *Machine) {
		m.see(app, now)
		for _, e := range app.Events {
			m.apply(e, now)
		}
		if app.UpdateCheck != nil {
			decided = decide(contents, &question{app: app, machine: m, now: now, halted: s.halted})
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
	if ch := contents.channels[m.Channel]; ch != nil && m.State == Failed && len(app.Events) > 0 {
		if err := s.judge(ctx, ch, contents.rules.of(ch.Name), now); err != nil {
			return nil, err
		}
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
