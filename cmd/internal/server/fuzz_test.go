package server_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
)

// patience is how long a member waits that will not see another one.
const patience = 20 * time.Millisecond

// FuzzDiscovery has strangers ask the discovery service: whatever they send, the
// server answers, and what it keeps it can read again.
func FuzzDiscovery(f *testing.F) {
	token := strings.Repeat("00", 16)
	f.Add("GET", "/"+token+"/_config/size", "")
	f.Add("PUT", "/"+token+"/a0?prevExist=false", "value=m0%3Dhttp%3A%2F%2F127.0.0.1%3A2380")
	f.Add("GET", "/"+token+"/a0?wait=true&waitIndex=1", "")
	f.Add("PUT", "/new?size=5", "size=3")
	s := &site{t: new(testing.T), dir: f.TempDir()}
	s.database = s.dir + "/machines.db"
	o := s.options()
	o.Random = bytes.NewReader(make([]byte, 1<<20)) // every token is the same
	srv, err := server.New(o)
	require.NoError(f, err)
	f.Cleanup(func() { srv.Close() })
	handler := srv.Handler()
	ask := func(t *testing.T, method, target, form string) int {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, method, "http://server"+target, strings.NewReader(form))
		if err != nil || q.URL.Path == "" {
			t.Skip()
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, q)
		return w.Code
	}
	require.Equal(f, http.StatusOK, get(handler, "/new?size=1"))
	f.Fuzz(func(t *testing.T, method, target, form string) {
		assert.NotZero(t, ask(t, method, target, form))
		assert.Equal(t, http.StatusOK, get(handler, "/"+token))
	})
}

func get(h http.Handler, target string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w.Code
}
