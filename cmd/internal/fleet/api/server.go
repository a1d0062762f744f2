package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// Store is the registry as the API needs it: *registry.Registry.
type Store interface {
	Load(ctx context.Context) (*registry.View, error)
	Unit(ctx context.Context, name string) (*registry.Job, error)
	Reports(ctx context.Context) ([]registry.Report, error)
	ReportsOf(ctx context.Context, name string) ([]registry.Report, error)
	CreateUnit(ctx context.Context, name, uid string, f *unit.File, desired unit.State) error
	ReplaceUnit(ctx context.Context, old *registry.Job, f *unit.File, desired unit.State) error
	SetDesired(ctx context.Context, name string, desired unit.State) error
	DestroyUnit(ctx context.Context, name string, now time.Time) error
	SetMetadata(ctx context.Context, machine, key, value string) error
}

// Drainer drains the machine.
type Drainer interface {
	SetDraining(ctx context.Context, draining bool) error
	Draining() Draining
}

// Server answers the API.
type Server struct {
	Store   Store
	Drainer Drainer // nil if this machine cannot be drained
	// TokenLimit is how many entries are on a page.
	TokenLimit uint16
	NewUID     func() string
	Now        func() time.Time
	Log        *slog.Logger
}

// maxBody bounds what is read of a request, in bytes. As JSON a unit of the
// greatest size is up to six times as long.
const maxBody = 8*unit.MaxSize + 4096

// Prefixes of all paths; the first is the one to use.
func prefixes() []string { return []string{"/fleet/v1", "/v1-alpha"} }

// DrainPath is where this machine is drained.
const DrainPath = "/slipway/v1/drain"

// Handler answers everything the API answers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, p := range prefixes() {
		mux.HandleFunc(p, refuse(http.StatusMethodNotAllowed, ""))
		mux.HandleFunc(p+"/discovery", s.discovery)
		mux.HandleFunc(p+"/machines", s.machines)
		mux.HandleFunc(p+"/state", s.states)
		mux.HandleFunc(p+"/state/{name}", s.state)
		mux.HandleFunc(p+"/units", s.units)
		mux.HandleFunc(p+"/units/{name}", s.unit)
	}
	mux.HandleFunc(DrainPath, s.drain)
	mux.HandleFunc("/{$}", refuse(http.StatusMethodNotAllowed, ""))
	mux.HandleFunc("/", refuse(http.StatusNotFound, ""))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "fleetd/"+Version)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		s.Log.Debug("request", "method", r.Method, "path", r.URL.Path)
		mux.ServeHTTP(w, r)
	})
}

func refuse(code int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { sendError(w, code, message) }
}

func send(w http.ResponseWriter, code int, document any) {
	text, err := json.Marshal(document)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if code != http.StatusNoContent {
		_, _ = w.Write(text) // who does not wait for the answer does not get it
	}
}

func sendError(w http.ResponseWriter, code int, message string) {
	send(w, code, errorDocument{Error{code, message}})
}

// fail tells of an error of the registry.
func (s *Server) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, registry.ErrNotFound):
		sendError(w, http.StatusNotFound, registry.ErrNotFound.Error())
	case errors.Is(err, registry.ErrExists), errors.Is(err, registry.ErrChanged):
		sendError(w, http.StatusConflict, err.Error())
	default:
		s.Log.Warn("request is not answered", "error", err)
		sendError(w, http.StatusServiceUnavailable, "fleet server unable to communicate with etcd")
	}
}

// getOnly refuses all methods but GET.
func getOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet {
		sendError(w, http.StatusMethodNotAllowed, "only GET supported against this resource")
		return false
	}
	return true
}

// page is the page of a list that a request asks for; ok is false if it makes no
// sense, which the answer says.
func (s *Server) page(w http.ResponseWriter, r *http.Request) (page pageToken, ok bool) {
	page, err := requestedPage(r.URL, s.TokenLimit)
	if err != nil {
		sendError(w, http.StatusBadRequest, err.Error())
	}
	return page, err == nil
}

// checkJSON says what is wrong with the type of a body.
func checkJSON(r *http.Request) error {
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return fmt.Errorf("expected 1 Content-Type, got %d", len(values))
	}
	kind, _, _ := strings.Cut(values[0], ";")
	if strings.TrimSpace(kind) != "application/json" {
		return errors.New("only acceptable Content-Type is application/json")
	}
	return nil
}

// drain starts and ends the draining of this machine, and says how far it is.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	if s.Drainer == nil {
		sendError(w, http.StatusNotFound, "this machine cannot be drained")
		return
	}
	var err error
	switch r.Method {
	case http.MethodGet:
	case http.MethodPut:
		err = s.Drainer.SetDraining(r.Context(), true)
	case http.MethodDelete:
		err = s.Drainer.SetDraining(r.Context(), false)
	default:
		sendError(w, http.StatusMethodNotAllowed, "only GET, PUT and DELETE supported against this resource")
		return
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	send(w, http.StatusOK, s.Drainer.Draining())
}
