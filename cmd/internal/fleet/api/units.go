package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

func (s *Server) units(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	page, ok := s.page(w, r)
	if !ok {
		return
	}
	view, err := s.Store.Load(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	reports, err := s.Store.Reports(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	byUnit := map[string][]registry.Report{}
	for _, p := range reports {
		byUnit[p.Unit] = append(byUnit[p.Unit], p)
	}
	names, next := cut(slices.Sorted(maps.Keys(view.Jobs)), page)
	answer := UnitPage{NextPageToken: next}
	for _, name := range names {
		u, err := newUnit(view.Jobs[name], byUnit[name])
		if err != nil {
			s.fail(w, err)
			return
		}
		answer.Units = append(answer.Units, u)
	}
	send(w, http.StatusOK, answer)
}

func (s *Server) unit(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	switch r.Method {
	case http.MethodGet:
		s.readUnit(w, r, name)
	case http.MethodPut:
		s.setUnit(w, r, name)
	case http.MethodDelete:
		if err := s.Store.DestroyUnit(r.Context(), name, s.Now()); err != nil {
			s.fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		sendError(w, http.StatusMethodNotAllowed, "only GET, PUT and DELETE supported against this resource")
	}
}

func (s *Server) readUnit(w http.ResponseWriter, r *http.Request, name string) {
	job, err := s.Store.Unit(r.Context(), name)
	if err != nil {
		s.fail(w, err)
		return
	}
	reports, err := s.Store.ReportsOf(r.Context(), name)
	if err != nil {
		s.fail(w, err)
		return
	}
	u, err := newUnit(job, reports)
	if err != nil {
		s.fail(w, err)
		return
	}
	send(w, http.StatusOK, u)
}

// setUnit creates a unit, replaces its file or says what is wanted of it.
func (s *Server) setUnit(w http.ResponseWriter, r *http.Request, name string) {
	if err := checkJSON(r); err != nil {
		sendError(w, http.StatusUnsupportedMediaType, err.Error())
		return
	}
	u, err := decodeUnit(r, name)
	if err != nil {
		sendError(w, http.StatusBadRequest, err.Error())
		return
	}
	old, err := s.Store.Unit(r.Context(), name)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		s.fail(w, err)
		return
	}
	switch {
	case old == nil && len(u.Options) == 0:
		sendError(w, http.StatusConflict, "unit does not exist and options field empty")
	case old == nil || len(u.Options) > 0 && u.File().Hash() != old.Hash:
		s.storeUnit(w, r, u, old)
	case u.DesiredState == "":
		sendError(w, http.StatusConflict, "must provide DesiredState to update existing unit")
	default:
		if err := s.Store.SetDesired(r.Context(), name, unit.State(u.DesiredState)); err != nil {
			s.fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// decodeUnit reads a unit for a name and checks what can be checked without
// the registry.
func decodeUnit(r *http.Request, name string) (*Unit, error) {
	u := &Unit{}
	if err := json.NewDecoder(r.Body).Decode(u); err != nil {
		return nil, fmt.Errorf("unable to decode body: %w", err)
	}
	if u.Name == "" {
		u.Name = name
	}
	if u.Name != name {
		return nil, fmt.Errorf("name in URL %q differs from unit name in request body %q", name, u.Name)
	}
	if err := unit.CheckName(name); err != nil {
		return nil, err
	}
	if len(u.Options) > 0 {
		if err := unit.CheckFile(name, u.File()); err != nil {
			return nil, err
		}
	}
	if u.DesiredState == "" {
		return u, nil
	}
	if _, err := unit.ParseState(u.DesiredState); err != nil {
		return nil, err
	}
	if unit.IsTemplate(name) && u.DesiredState != string(unit.Inactive) {
		return nil, fmt.Errorf("cannot activate template %q", name)
	}
	return u, nil
}

// storeUnit stores a file that is new or another than before. What is wanted
// of a unit stays as it was, unless the request says something else.
func (s *Server) storeUnit(w http.ResponseWriter, r *http.Request, u *Unit, old *registry.Job) {
	var cycle unit.CycleError
	switch err := s.checkCycles(r.Context(), u); {
	case errors.As(err, &cycle):
		sendError(w, http.StatusBadRequest, err.Error())
		return
	case err != nil:
		s.fail(w, err)
		return
	}
	desired := unit.State(u.DesiredState)
	switch {
	case old == nil && desired == "":
		desired = unit.Inactive
	case desired == "":
		desired = old.Desired
	}
	var err error
	if old == nil {
		err = s.Store.CreateUnit(r.Context(), u.Name, s.NewUID(), u.File(), desired)
	} else {
		err = s.Store.ReplaceUnit(r.Context(), old, u.File(), desired)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// checkCycles says whether a unit closes a circle with those that are there.
// Only one that names others can.
func (s *Server) checkCycles(ctx context.Context, u *Unit) error {
	rules := u.File().Rules(u.Name)
	if len(rules.Peers) == 0 && len(rules.Replaces) == 0 {
		return nil
	}
	view, err := s.Store.Load(ctx)
	if err != nil {
		return err
	}
	others := map[string]*unit.Rules{}
	for name, job := range view.Jobs {
		others[name] = job.Rules
	}
	return unit.CheckCycles(u.Name, rules, others)
}
