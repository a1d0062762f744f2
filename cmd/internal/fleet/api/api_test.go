package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

func newServer(store *fleettest.Store) *api.Server {
	uid := 0
	return &api.Server{
		Store: store, TokenLimit: 2, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		NewUID: func() string { uid++; return fmt.Sprint(uid) },
	}
}

// ask sends a request and gives status, type and body of the answer.
func ask(h http.Handler, method, path, body string) (status int, answer string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func failure(code int, message string) string {
	text, _ := json.Marshal(message)
	return fmt.Sprintf(`{"error":{"code":%d,"message":%s}}`, code, text)
}

const options = `[{"section":"Service","name":"ExecStart","value":"/bin/a"}]`

// The requests and answers of one unit's life, and everything that is refused.
func TestUnits(t *testing.T) {
	h := newServer(fleettest.NewStore(&registry.Machine{ID: "m1", PublicIP: "10.0.0.1"})).Handler()
	long := strings.Repeat("a", 300) + ".service"
	huge := `{"options":[{"section":"A","name":"B","value":"` + strings.Repeat("x", 1<<20) + `"}]}`
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/fleet/v1/units", "", 200, `{}`},
		{"GET", "/fleet/v1/units/a.service", "", 404, failure(404, "unit does not exist")},
		{"PUT", "/fleet/v1/units/a.service", `{"desiredState":"launched"}`, 409, failure(409, "unit does not exist and options field empty")},
		{"PUT", "/fleet/v1/units/a.service", `{"options":` + options + `,"desiredState":"launched"}`, 201, ``},
		{"GET", "/fleet/v1/units/a.service", "", 200,
			`{"currentState":"launched","desiredState":"launched","machineID":"m1","name":"a.service","options":` + options + `}`},
		{"PUT", "/fleet/v1/units/a.service", `{"options":` + options + `}`, 409, failure(409, "must provide DesiredState to update existing unit")},
		{"PUT", "/fleet/v1/units/a.service", `{}`, 409, failure(409, "must provide DesiredState to update existing unit")},
		{"PUT", "/fleet/v1/units/a.service", `{"desiredState":"loaded"}`, 204, ``},
		{"PUT", "/fleet/v1/units/a.service", `{"name":"a.service","options":[{"section":"Service","name":"ExecStart","value":"/bin/b"}]}`, 201, ``},
		{"GET", "/v1-alpha/units/a.service", "", 200,
			`{"currentState":"loaded","desiredState":"loaded","machineID":"m1","name":"a.service","options":[{"section":"Service","name":"ExecStart","value":"/bin/b"}]}`},
		{"GET", "/fleet/v1/state/a.service", "", 200,
			`{"hash":"7961c58d7469d7bc6a46bf170f17adb4e4fe73f5","machineID":"m1","name":"a.service","systemdActiveState":"inactive","systemdLoadState":"loaded","systemdSubState":"dead"}`},
		{"GET", "/fleet/v1/state/b.service", "", 404, failure(404, "unit state does not exist")},
		{"DELETE", "/fleet/v1/units/a.service", "", 204, ``},
		{"DELETE", "/fleet/v1/units/a.service", "", 404, failure(404, "unit does not exist")},
		{"PUT", "/fleet/v1/units/g.service", `{"options":[{"section":"X-Fleet","name":"Global","value":"true"}],"desiredState":"launched"}`, 201, ``},
		{"GET", "/fleet/v1/units/g.service", "", 200, `{"desiredState":"launched","name":"g.service","options":[{"section":"X-Fleet","name":"Global","value":"true"}]}`},
		{"PUT", "/fleet/v1/units/t@.service", `{"options":` + options + `}`, 201, ``},
		{"PUT", "/fleet/v1/units/t@.service", `{"desiredState":"launched"}`, 400, failure(400, `cannot activate template "t@.service"`)},

		{"PUT", "/fleet/v1/units/b.service", `{`, 400, failure(400, "unable to decode body: unexpected EOF")},
		{"PUT", "/fleet/v1/units/b.service", huge, 400, failure(400, "unable to decode body: http: request body too large")},
		{"PUT", "/fleet/v1/units/b.service", `{"name":"c.service"}`, 400, failure(400, `name in URL "b.service" differs from unit name in request body "c.service"`)},
		{"PUT", "/fleet/v1/units/b", `{"options":` + options + `}`, 400, failure(400, `unit name must contain "."`)},
		{"PUT", "/fleet/v1/units/a%2Fb.service", `{"options":` + options + `}`, 400, failure(400, `invalid character '/' in unit name`)},
		{"PUT", "/fleet/v1/units/" + long, `{"options":` + options + `}`, 400, failure(400, "unit name exceeds maximum length (256)")},
		{"PUT", "/fleet/v1/units/b.service", `{"options":` + options + `,"desiredState":"flying"}`, 400, failure(400, `invalid value "flying" for JobState`)},
		{"PUT", "/fleet/v1/units/b.service", `{"options":[{"section":"X-Fleet","name":"Foo","value":"1"}]}`, 400,
			failure(400, `unrecognized requirement in [X-Fleet] section: "Foo"`)},
		{"PUT", "/fleet/v1/units/b.service", `{"options":[{"section":"S","name":"A","value":"b\n[X-Fleet]\nGlobal=true"}]}`, 400,
			failure(400, "options do not make a unit file: one holds line breaks, blanks at an end or a section")},
		{"PUT", "/fleet/v1/units/p.service", `{"options":[{"section":"X-Fleet","name":"MachineOf","value":"q.service"}]}`, 201, ``},
		{"PUT", "/fleet/v1/units/q.service", `{"options":[{"section":"X-Fleet","name":"MachineOf","value":"p.service"}]}`, 400,
			failure(400, "MachineOf of units leads back to the first: q.service -> p.service -> q.service")},
		{"POST", "/fleet/v1/units", `{}`, 405, failure(405, "only GET supported against this resource")},
		{"POST", "/fleet/v1/units/a.service", `{}`, 405, failure(405, "only GET, PUT and DELETE supported against this resource")},
		{"PUT", "/fleet/v1/state", `{}`, 405, failure(405, "only GET supported against this resource")},
		{"PUT", "/fleet/v1/state/a.service", `{}`, 405, failure(405, "only GET supported against this resource")},
		{"PUT", "/fleet/v1/machines", `{}`, 405, failure(405, "only GET and PATCH supported against this resource")},
		{"POST", "/fleet/v1/discovery", `{}`, 400, failure(400, "only HTTP GET supported against this resource")},
		{"GET", "/", "", 405, failure(405, "")},
		{"GET", "/fleet/v1", "", 405, failure(405, "")},
		{"GET", "/fleet/v2/units", "", 404, failure(404, "")},
		{"GET", "/fleet/v1/units/a/b", "", 404, failure(404, "")},
		{"GET", "/slipway/v1/drain", "", 404, failure(404, "this machine cannot be drained")},
	} {
		status, answer := ask(h, c.method, c.path, c.body)
		assert.Equal(t, c.status, status, c.method+" "+c.path)
		assert.Equal(t, c.answer, answer, c.method+" "+c.path)
	}
}

func TestContentType(t *testing.T) {
	h := newServer(fleettest.NewStore()).Handler()
	for _, c := range []struct {
		types []string
		want  string
	}{
		{nil, "expected 1 Content-Type, got 0"},
		{[]string{"application/json", "application/json"}, "expected 1 Content-Type, got 2"},
		{[]string{"text/plain"}, "only acceptable Content-Type is application/json"},
	} {
		r := httptest.NewRequest("PUT", "/fleet/v1/units/a.service", strings.NewReader(`{"options":`+options+`}`))
		r.Header["Content-Type"] = c.types
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Equal(t, 415, w.Code)
		assert.Equal(t, failure(415, c.want), w.Body.String())
		assert.Equal(t, "fleetd/1.0.0", w.Header().Get("Server"))
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	}
}

func TestPages(t *testing.T) {
	store := fleettest.NewStore(&registry.Machine{ID: "m1"}, &registry.Machine{ID: "m2"}, &registry.Machine{ID: "m3"})
	s := newServer(store)
	for i := range 5 {
		f := &unit.File{Options: []unit.Option{{Section: "Service", Name: "ExecStart", Value: "/bin/a"}}}
		require.NoError(t, store.CreateUnit(t.Context(), fmt.Sprintf("u%d.service", i), "1", f, unit.Launched))
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	c := &api.Client{HTTP: server.Client(), URL: server.URL}
	units, err := c.Units(t.Context())
	require.NoError(t, err)
	assert.Len(t, units, 5)
	states, err := c.States(t.Context())
	require.NoError(t, err)
	assert.Len(t, states, 5)
	machines, err := c.Machines(t.Context())
	require.NoError(t, err)
	assert.Len(t, machines, 3)

	// Two on each page; the token is fleet's: limit and page, little endian.
	_, answer := ask(s.Handler(), "GET", "/fleet/v1/machines", "")
	assert.Equal(t, `{"machines":[{"id":"m1"},{"id":"m2"}],"nextPageToken":"AgACAA=="}`, answer)
	_, answer = ask(s.Handler(), "GET", "/fleet/v1/machines?nextPageToken=AgACAA==", "")
	assert.Equal(t, `{"machines":[{"id":"m3"}]}`, answer)
	_, answer = ask(s.Handler(), "GET", "/fleet/v1/machines?nextPageToken=AgADAA==", "")
	assert.Equal(t, `{}`, answer)
	_, answer = ask(s.Handler(), "GET", "/fleet/v1/state?machineID=m2&unitName=u1.service", "")
	assert.Contains(t, answer, `"name":"u1.service"`)
	_, answer = ask(s.Handler(), "GET", "/fleet/v1/state?machineID=m2&unitName=u0.service", "")
	assert.Equal(t, `{}`, answer)
	for query, want := range map[string]string{
		"nextPageToken=AQACAA==":                        "token limit must be 2",
		"nextPageToken=AgAAAA==":                        "token page must be greater than zero",
		"nextPageToken=AgA=":                            "unexpected EOF",
		"nextPageToken=%21":                             "illegal base64 data at input byte 0",
		"nextPageToken=AgACAA==&nextPageToken=AgACAA==": "too many values for page token",
	} {
		for _, list := range []string{"units", "machines", "state"} {
			status, answer := ask(s.Handler(), "GET", "/fleet/v1/"+list+"?"+query, "")
			assert.Equal(t, 400, status)
			assert.Equal(t, failure(400, want), answer)
		}
	}
}

func TestMachineMetadata(t *testing.T) {
	store := fleettest.NewStore(&registry.Machine{ID: "m1", PublicIP: "10.0.0.1", Metadata: map[string]string{"a": "1", "b": "2"}})
	h := newServer(store).Handler()
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`[{"op":"add","path":"/m1/metadata/c","value":"3"},{"op":"remove","path":"/m1/metadata/a"},{"op":"replace","path":"/m1/metadata/b","value":{"value":"4"}}]`, 204, ""},
		{`[{"op":"add","path":"/m1/metadata/d","value":"5"},{"op":"move","path":"/m1/metadata/a"}]`, 400, failure(400, "invalid op: expect add, remove, or replace")},
		{`[{"op":"add","path":"/m1/metadata/a/b","value":"3"}]`, 400, failure(400, "machine metadata path invalid")},
		{`[{"op":"add","path":"/m1/metadata/a b","value":"3"}]`, 400, failure(400, "machine metadata path invalid")},
		{`[{"op":"add","path":"/m1/metadata/a"}]`, 400, failure(400, "invalid value: add and replace require a value")},
		{`{}`, 400, failure(400, "json: cannot unmarshal object into Go value of type []api.metadataOp")},
	} {
		status, answer := ask(h, "PATCH", "/fleet/v1/machines", c.body)
		assert.Equal(t, c.status, status)
		assert.Equal(t, c.want, answer)
	}
	_, answer := ask(h, "GET", "/fleet/v1/machines", "")
	assert.Equal(t, `{"machines":[{"id":"m1","metadata":{"b":"4","c":"3"},"primaryIP":"10.0.0.1"}]}`, answer)
}

func TestEtcdIsAway(t *testing.T) {
	store := fleettest.NewStore()
	store.Err = errors.New("context deadline exceeded")
	h := newServer(store).Handler()
	for _, path := range []string{"units", "units/a.service", "state", "state/a.service", "machines"} {
		status, answer := ask(h, "GET", "/fleet/v1/"+path, "")
		assert.Equal(t, 503, status)
		assert.Equal(t, failure(503, "fleet server unable to communicate with etcd"), answer)
	}
	status, _ := ask(h, "PUT", "/fleet/v1/units/a.service", `{"options":`+options+`}`)
	assert.Equal(t, 503, status)
}

func TestDiscovery(t *testing.T) {
	status, answer := ask(newServer(fleettest.NewStore()).Handler(), "GET", "/fleet/v1/discovery", "")
	assert.Equal(t, 200, status)
	var doc struct {
		ID, BasePath string
		Schemas      map[string]struct{ Properties map[string]any }
		Resources    map[string]struct {
			Methods map[string]struct{ ID, HTTPMethod, Path string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &doc))
	assert.Equal(t, "fleet:v1", doc.ID)
	assert.Equal(t, "/fleet/v1/", doc.BasePath)
	for name, value := range map[string]any{
		"Unit":      api.Unit{CurrentState: "x", DesiredState: "x", MachineID: "x", Name: "x", Options: []unit.Option{{}}},
		"UnitState": api.UnitState{Hash: "x", MachineID: "x", Name: "x", SystemdActiveState: "x", SystemdLoadState: "x", SystemdSubState: "x"},
		"Machine":   api.Machine{ID: "x", Metadata: map[string]string{"x": "y"}, PrimaryIP: "x"},
	} {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal(text, &fields))
		for field := range fields {
			assert.Contains(t, doc.Schemas[name].Properties, field)
		}
		assert.Len(t, doc.Schemas[name].Properties, len(fields))
	}
	assert.Equal(t, "units/{unitName}", doc.Resources["Units"].Methods["Set"].Path)
}

// Nothing that is sent to the API ends it, and what is refused is not stored.
func FuzzSetUnit(f *testing.F) {
	f.Add("a.service", []byte(`{"options":`+options+`,"desiredState":"launched"}`))
	f.Add("a@1.service", []byte(`{"name":"a@1.service","options":[{"section":"X-Fleet","name":"MachineOf","value":"%p.socket"}]}`))
	f.Add("b.service", []byte(`{"options":[{"section":"X","name":"","value":"\n"}]}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		store := fleettest.NewStore(&registry.Machine{ID: "m1"})
		r := httptest.NewRequest("PUT", "/fleet/v1/units/x", strings.NewReader(string(body)))
		r.URL.Path = "/fleet/v1/units/" + name
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		newServer(store).Handler().ServeHTTP(w, r)
		view, err := store.Load(t.Context())
		require.NoError(t, err)
		if w.Code != http.StatusCreated {
			assert.Empty(t, view.Jobs)
			return
		}
		for name, job := range view.Jobs {
			u, err := unit.Parse([]byte(job.Text))
			require.NoError(t, err)
			assert.NoError(t, unit.CheckFile(name, u))
		}
	})
}
