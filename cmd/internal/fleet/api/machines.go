package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"slipway/cmd/internal/fleet/registry"
)

// metadataOp changes metadata of a machine, in the manner of a JSON patch.
type metadataOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"` // "/<machine>/metadata/<key>"
	Value metadataValue
}

// metadataValue is a string, or an object with one as fleet's own client
// writes it.
type metadataValue string

// UnmarshalJSON implements json.Unmarshaler.
func (v *metadataValue) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err == nil {
		*v = metadataValue(s)
		return nil
	}
	var o struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	*v = metadataValue(o.Value)
	return nil
}

// target takes the path apart.
func (o *metadataOp) target() (machine, key string, ok bool) {
	const longest = 512
	parts := strings.Split(o.Path, "/")
	if len(o.Path) > longest || len(parts) != 4 || parts[0] != "" || parts[1] == "" || parts[2] != "metadata" ||
		parts[3] == "" {
		return "", "", false
	}
	for _, r := range parts[3] {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
		default:
			return "", "", false
		}
	}
	return parts[1], parts[3], true
}

// check says what is wrong with a change, "" if nothing is.
func (o *metadataOp) check() string {
	_, _, ok := o.target()
	switch {
	case o.Op != "add" && o.Op != "remove" && o.Op != "replace":
		return "invalid op: expect add, remove, or replace"
	case !ok:
		return "machine metadata path invalid"
	case o.Op != "remove" && o.Value == "":
		return "invalid value: add and replace require a value"
	}
	return ""
}

func (s *Server) machines(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		s.listMachines(w, r)
	case http.MethodPatch:
		s.patchMachines(w, r)
	default:
		sendError(w, http.StatusMethodNotAllowed, "only GET and PATCH supported against this resource")
	}
}

func (s *Server) listMachines(w http.ResponseWriter, r *http.Request) {
	page, ok := s.page(w, r)
	if !ok {
		return
	}
	view, err := s.Store.Load(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	ids, next := cut(slices.Sorted(maps.Keys(view.Machines)), page)
	answer := MachinePage{NextPageToken: next}
	for _, id := range ids {
		answer.Machines = append(answer.Machines, newMachine(view.Machines[id]))
	}
	send(w, http.StatusOK, answer)
}

// patchMachines changes metadata. All changes are checked before the first is
// made.
func (s *Server) patchMachines(w http.ResponseWriter, r *http.Request) {
	var ops []metadataOp
	if err := json.NewDecoder(r.Body).Decode(&ops); err != nil {
		sendError(w, http.StatusBadRequest, err.Error())
		return
	}
	for _, o := range ops {
		if message := o.check(); message != "" {
			sendError(w, http.StatusBadRequest, message)
			return
		}
	}
	for _, o := range ops {
		machine, key, _ := o.target()
		value := string(o.Value)
		if o.Op == "remove" {
			value = ""
		}
		if err := s.Store.SetMetadata(r.Context(), machine, key, value); err != nil {
			s.fail(w, err)
			return
		}
	}
	send(w, http.StatusNoContent, nil)
}

func (s *Server) states(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	page, ok := s.page(w, r)
	if !ok {
		return
	}
	reports, err := s.Store.Reports(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	machine, name := r.URL.Query().Get("machineID"), r.URL.Query().Get("unitName")
	reports = slices.DeleteFunc(reports, func(p registry.Report) bool {
		return machine != "" && p.Machine != machine || name != "" && p.Unit != name
	})
	reports, next := cut(reports, page)
	answer := UnitStatePage{NextPageToken: next}
	for i := range reports {
		answer.States = append(answer.States, newState(&reports[i]))
	}
	send(w, http.StatusOK, answer)
}

// state shows one unit's state: that on the machine it belongs to, if several
// have it.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	name := r.PathValue("name")
	reports, err := s.Store.ReportsOf(r.Context(), name)
	if err != nil {
		s.fail(w, err)
		return
	}
	if len(reports) == 0 {
		sendError(w, http.StatusNotFound, "unit state does not exist")
		return
	}
	best := &reports[0]
	if job, err := s.Store.Unit(r.Context(), name); err == nil {
		for i := range reports {
			if reports[i].Machine == job.Target {
				best = &reports[i]
			}
		}
	}
	send(w, http.StatusOK, newState(best))
}
