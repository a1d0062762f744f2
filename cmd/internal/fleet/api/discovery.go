package api

import (
	_ "embed"
	"net/http"
)

//go:embed discovery.json
var discoveryDocument []byte

// discovery describes the API in the format of Google's API discovery service,
// from which clients are generated.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		sendError(w, http.StatusBadRequest, "only HTTP GET supported against this resource")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(discoveryDocument) // who does not wait for the answer does not get it
}
