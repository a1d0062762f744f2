package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// NewPath is where a token for a new etcd cluster is had: /new?size=3.
const NewPath = "/new"

// discoveryPath takes apart what etcd asks for: the token, then nothing, the
// size, or a member.
var discoveryPath = regexp.MustCompile(`^/([0-9a-f]{32})(?:/(_config/size|[0-9a-f]{1,16}))?/?$`)

// sizeKey is the key of a cluster's size.
const sizeKey = "_config/size"

// node is a key of etcd's v2 API.
type node struct {
	Key      string  `json:"key"`
	Value    string  `json:"value,omitempty"`
	Dir      bool    `json:"dir,omitempty"`
	Nodes    []*node `json:"nodes,omitempty"`
	Modified uint64  `json:"modifiedIndex"`
	Created  uint64  `json:"createdIndex"`
}

// node is a member as the key that etcd wants.
func (m member) node(token string, position int) *node {
	index := firstIndex + uint64(position)
	return &node{Key: "/" + token + "/" + m.ID, Value: m.Value, Modified: index, Created: index}
}

// newCluster answers /new: the address of a new token, as etcd's public service
// did.
func (s *Server) newCluster(w http.ResponseWriter, r *http.Request) {
	size := defaultSize
	if text := r.URL.Query().Get("size"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxSize {
			http.Error(w, fmt.Sprintf("size %.20q: not from 1 to %d", text, maxSize), http.StatusBadRequest)
			return
		}
	}
	token, err := s.discovery.create(r.Context(), size)
	if err != nil {
		s.discoveryFailed(w, err)
		return
	}
	s.o.Log.Info("token for an etcd cluster", "size", size)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, s.base(r)+"/"+token)
}

// discover answers the members of an etcd cluster that look for each other, by
// etcd's discovery protocol: the part of its v2 keys API that etcd 3.5 uses with
// --discovery=http://HOST/TOKEN.
func (s *Server) discover(w http.ResponseWriter, r *http.Request) {
	parts := discoveryPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		http.NotFound(w, r)
		return
	}
	token, key := parts[1], parts[2]
	switch {
	case r.Method == http.MethodPut && key != "" && key != sizeKey:
		s.join(w, r, token, key)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, PUT")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Query().Get("wait") == "true":
		s.waitForMember(w, r, token, key)
	default:
		s.look(w, token, key)
	}
}

// look answers with the size, a member, or all members.
func (s *Server) look(w http.ResponseWriter, token, key string) {
	c, err := s.discovery.of(token)
	if err != nil {
		s.discoveryFailed(w, err)
		return
	}
	if key == sizeKey {
		answerKeys(w, http.StatusOK, c.index(), "get", &node{
			Key: "/" + token + "/" + sizeKey, Value: strconv.Itoa(c.Size), Modified: firstIndex - 1, Created: firstIndex - 1,
		})
		return
	}
	all := &node{Key: "/" + token, Dir: true, Modified: firstIndex - 1, Created: firstIndex - 1}
	for i, m := range c.Members {
		n := m.node(token, i)
		if m.ID == key {
			answerKeys(w, http.StatusOK, c.index(), "get", n)
			return
		}
		all.Nodes = append(all.Nodes, n)
	}
	if key != "" {
		s.discoveryFailed(w, notFound("/"+token+"/"+key))
		return
	}
	answerKeys(w, http.StatusOK, c.index(), "get", all)
}

// join takes down a member.
func (s *Server) join(w http.ResponseWriter, r *http.Request, token, id string) {
	r.Body = http.MaxBytesReader(w, r.Body, 4*maxValue) // as a form it is longer
	if err := r.ParseForm(); err != nil {
		s.discoveryFailed(w, &discoveryError{400, 210, "Invalid POST form", err.Error()})
		return
	}
	value := r.PostForm.Get("value")
	if value == "" || len(value) > maxValue {
		s.discoveryFailed(w, &discoveryError{400, 209, "Invalid field", fmt.Sprintf("value of %d bytes", len(value))})
		return
	}
	c, err := s.discovery.join(r.Context(), token, member{ID: id, Value: value})
	if err != nil {
		s.discoveryFailed(w, err)
		return
	}
	last := len(c.Members) - 1
	answerKeys(w, http.StatusCreated, c.index(), "create", c.Members[last].node(token, last))
}

// waitForMember answers when there is a member with the index asked for. After
// some minutes it answers with nothing, and etcd asks again.
func (s *Server) waitForMember(w http.ResponseWriter, r *http.Request, token, key string) {
	c, err := s.discovery.of(token)
	if err != nil {
		s.discoveryFailed(w, err)
		return
	}
	from := c.index() + 1
	if text := r.URL.Query().Get("waitIndex"); text != "" && text != "0" {
		if from, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.discoveryFailed(w, &discoveryError{400, 203, "The given index in POST form is not a number", "waitIndex"})
			return
		}
	}
	// The limits of a usual request are not for this one.
	control, end := http.NewResponseController(w), time.Now().Add(longPollTime+answerTime)
	err = errors.Join(control.SetReadDeadline(end), control.SetWriteDeadline(end))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), longPollTime)
	defer cancel()
	stop := context.AfterFunc(s.stopping, cancel)
	defer stop()
	n, index, err := s.discovery.wait(ctx, token, key, from)
	switch {
	case err != nil:
		s.discoveryFailed(w, err)
	case n == nil:
		keysHeader(w, index)
		w.WriteHeader(http.StatusOK)
	default:
		answerKeys(w, http.StatusOK, index, "create", n)
	}
}

func keysHeader(w http.ResponseWriter, index uint64) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Etcd-Index", strconv.FormatUint(index, 10))
}

func answerKeys(w http.ResponseWriter, status int, index uint64, action string, n *node) {
	keysHeader(w, index)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"action": action, "node": n}) // to whom it fails, nothing can be said
}

// discoveryFailed answers with an error as etcd gives it.
func (s *Server) discoveryFailed(w http.ResponseWriter, err error) {
	e, known := errors.AsType[*discoveryError](err)
	if !known {
		s.o.Log.Error("etcd discovery not answered", "error", err)
		e = &discoveryError{http.StatusServiceUnavailable, 300, "The database does not answer", ""}
	}
	keysHeader(w, 0)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errorCode": e.code, "message": e.message, "cause": e.cause, "index": 0,
	})
}
