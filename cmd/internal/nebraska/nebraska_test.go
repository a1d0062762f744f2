package nebraska_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/nebraska"
	"slipway/signing/omaha"
)

// recordFlag has TestPublish talk to a real Nebraska, which must run without
// authentication, and record what is said. The run fails, so that nobody takes
// it for a test.
var recordFlag = flag.String("record", "", "record the exchanges with the Nebraska at `URL`")

const fixture = "testdata/exchanges.json"

// recording is what was said between slipway publish and a Nebraska, for each
// step of TestPublish. Hosts are not in it.
type recording struct {
	App   string                 `json:"app"` // made for the recording
	Steps map[string][]*exchange `json:"steps"`
	// Offer is what Nebraska answered a machine in the end.
	Offer string `json:"offer"`
}

// exchange is a request and its answer.
type exchange struct {
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	Request json.RawMessage `json:"request,omitempty"`
	Status  int             `json:"status"`
	Answer  json.RawMessage `json:"answer,omitempty"`
}

// tape plays a step of a recording, or records it.
type tape struct {
	t      *testing.T
	record bool
	list   []*exchange
}

func (p *tape) RoundTrip(q *http.Request) (*http.Response, error) {
	var body []byte
	if q.Body != nil {
		var err error
		if body, err = io.ReadAll(q.Body); err != nil {
			return nil, err
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
	}
	if p.record {
		return p.keep(q, body)
	}
	if len(p.list) == 0 {
		return nil, fmt.Errorf("%s %s: not in the recording", q.Method, q.URL.RequestURI())
	}
	want := p.list[0]
	p.list = p.list[1:]
	assert.Equal(p.t, want.Method+" "+want.Path, q.Method+" "+q.URL.RequestURI())
	if want.Request != nil {
		assert.JSONEq(p.t, string(want.Request), string(body))
	} else {
		assert.Empty(p.t, body)
	}
	return &http.Response{StatusCode: want.Status, Body: io.NopCloser(bytes.NewReader(want.Answer)), Request: q}, nil
}

// keep asks the real one.
func (p *tape) keep(q *http.Request, body []byte) (*http.Response, error) {
	r, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.list = append(p.list, &exchange{q.Method, q.URL.RequestURI(), body, r.StatusCode, bytes.TrimSpace(answer)})
	r.Body = io.NopCloser(bytes.NewReader(answer))
	return r, nil
}

func readRecording(t *testing.T) *recording {
	t.Helper()
	r := &recording{Steps: map[string][]*exchange{}}
	if *recordFlag != "" {
		answer, err := http.Post(*recordFlag+"/api/apps", "application/json", strings.NewReader(`{"name":"Slipway","product_id":null}`))
		require.NoError(t, err)
		defer answer.Body.Close()
		var app struct{ ID string }
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&app))
		r.App = app.ID
		t.Cleanup(func() {
			q, err := http.NewRequest(http.MethodDelete, *recordFlag+"/api/apps/"+app.ID, nil)
			require.NoError(t, err)
			gone, err := http.DefaultClient.Do(q)
			require.NoError(t, err)
			gone.Body.Close()
		})
		return r
	}
	text, err := os.ReadFile(fixture)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, r))
	return r
}

// save writes the recording, with what a machine is offered then.
func (r *recording) save(t *testing.T) {
	t.Helper()
	var q bytes.Buffer
	require.NoError(t, omaha.Encode(&q, &omaha.Request{Protocol: omaha.Protocol, OS: &omaha.OS{Arch: "x86_64"}, Apps: []*omaha.App{{
		ID: "{" + r.App + "}", Version: "1.0.0", Track: "beta", MachineID: "0123456789abcdef0123456789abcdef", Board: "amd64-usr",
		Ping: &omaha.Ping{Active: 1}, UpdateCheck: &omaha.UpdateCheck{},
	}}}))
	answer, err := http.Post(*recordFlag+"/v1/update", "text/xml", &q)
	require.NoError(t, err)
	defer answer.Body.Close()
	offer, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	r.Offer = string(offer)
	text, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(fixture, append(text, '\n'), 0o644))
	t.Fatalf("recorded %s: run the test without -record", fixture)
}

func pack(change func(*nebraska.Package)) *nebraska.Package {
	p := &nebraska.Package{
		Name: "slipway", Version: "4896.0.0", Arch: "amd64", Channel: "beta", Size: 168605851,
		URL: "http://updates.example.net/releases/beta/4896.0.0/", File: "update.payload",
		SHA1: [20]byte{1, 2, 3}, SHA256: [32]byte{4, 5, 6},
	}
	if change != nil {
		change(p)
	}
	return p
}

// What is said to a Nebraska, and what it answered when this was recorded.
func TestPublish(t *testing.T) {
	r := readRecording(t)
	next := func(p *nebraska.Package) {
		p.Version, p.URL = "4897.0.0", "http://updates.example.net/releases/beta/4897.0.0/"
	}
	const at = "http://updates.example.net/releases/beta/"
	for _, c := range []struct {
		name   string
		change func(*nebraska.Package)
		dry    bool
		want   []string
		err    string
	}{
		{name: "dry run", dry: true, want: []string{
			"register package 4896.0.0 for amd64: 168605851 bytes at " + at + "4896.0.0/update.payload",
			"make channel beta for amd64, pointing at 4896.0.0", `make group "beta (amd64)" for machines of track beta`,
		}},
		{name: "first", want: []string{
			"register package 4896.0.0 for amd64: 168605851 bytes at " + at + "4896.0.0/update.payload",
			"make channel beta for amd64, pointing at 4896.0.0", `make group "beta (amd64)" for machines of track beta`,
		}},
		{name: "again"},
		{name: "floor", change: func(p *nebraska.Package) { p.FloorReason = "reads the new table" }, want: []string{
			"make 4896.0.0 a floor of channel beta",
		}},
		{name: "floor again", change: func(p *nebraska.Package) { p.FloorReason = "reads the new table" }},
		{name: "moved", change: func(p *nebraska.Package) { p.URL = "http://cdn.example.net/4896.0.0/" }, want: []string{
			"move package 4896.0.0 from " + at + "4896.0.0/update.payload to http://cdn.example.net/4896.0.0/update.payload",
		}},
		{name: "other bytes", change: func(p *nebraska.Package) { p.SHA256[0], p.SHA1[0] = 9, 9 },
			err: "nebraska: package 4896.0.0: published before with another payload: 168605851 bytes with SHA-1 AQIDAAAAAAAAAAAAAAAAAAAAAAA=, " +
				"this one is 168605851 bytes with CQIDAAAAAAAAAAAAAAAAAAAAAAA="},
		{name: "next version, dry", dry: true, change: next, want: []string{
			"register package 4897.0.0 for amd64: 168605851 bytes at " + at + "4897.0.0/update.payload",
			"point channel beta at 4897.0.0",
		}},
		{name: "next version", change: next, want: []string{
			"register package 4897.0.0 for amd64: 168605851 bytes at " + at + "4897.0.0/update.payload",
			"point channel beta at 4897.0.0",
		}},
		{name: "another architecture", change: func(p *nebraska.Package) { p.Arch = "arm64" }, want: []string{
			"register package 4896.0.0 for arm64: 168605851 bytes at " + at + "4896.0.0/update.payload",
			"make channel beta for arm64, pointing at 4896.0.0", `make group "beta (arm64)" for machines of track beta`,
		}},
		{name: "no such application", change: func(p *nebraska.Package) { p.App = "11111111-2222-3333-4444-555555555555" },
			err: "nebraska: GET /api/apps/11111111-2222-3333-4444-555555555555: 400 Bad Request"},
		{name: "version that is none", change: func(p *nebraska.Package) { p.Version = "tomorrow" },
			want: []string{"register package tomorrow for amd64: 168605851 bytes at " + at + "4896.0.0/update.payload"},
			err:  "nebraska: POST /api/apps/" + r.App + "/packages: 500 Internal Server Error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			play := &tape{t: t, record: *recordFlag != "", list: r.Steps[c.name]}
			s := &nebraska.Server{URL: "http://nebraska.example.net/", HTTP: &http.Client{Transport: play}, DryRun: c.dry}
			if play.record {
				s.URL = *recordFlag
			}
			p := pack(c.change)
			if p.App == "" {
				p.App = r.App
			}
			var said []string
			err := s.Publish(t.Context(), p, func(change string) { said = append(said, change) })
			assert.Equal(t, c.want, said)
			if c.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
			if play.record {
				r.Steps[c.name] = play.list
			} else {
				assert.Empty(t, play.list, "recorded, and not said now")
			}
		})
	}
	if *recordFlag != "" {
		r.save(t)
	}
}

// What that Nebraska offered a machine in the end, ours reads.
func TestOfferOfNebraska(t *testing.T) {
	r := readRecording(t)
	p, err := omaha.ReadResponse(strings.NewReader(r.Offer))
	require.NoError(t, err)
	app, ok := p.App("{" + r.App + "}")
	require.True(t, ok)
	u, err := app.UpdateCheck.Update()
	require.NoError(t, err)
	assert.Equal(t, "4896.0.0", u.Version, "the floor on the way to 4897.0.0")
	assert.Equal(t, []string{"http://cdn.example.net/4896.0.0/update.payload"}, u.URLs)
	assert.EqualValues(t, 168605851, u.Size)
	assert.Equal(t, [32]byte{4, 5, 6}, u.SHA256)
}

// A server that is none, or not willing, gets a clear word.
func TestAnswersThatAreNone(t *testing.T) {
	var answer func(w http.ResponseWriter, q *http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { answer(w, q) }))
	defer server.Close()
	publish := func() error {
		s := &nebraska.Server{URL: server.URL, Token: "secret", HTTP: http.DefaultClient}
		return s.Publish(t.Context(), pack(func(p *nebraska.Package) { p.App = "app" }), func(string) {})
	}
	answer = func(w http.ResponseWriter, q *http.Request) {
		assert.Equal(t, "Bearer secret", q.Header.Get("Authorization"))
		http.Error(w, "expired", http.StatusUnauthorized)
	}
	err := publish()
	assert.EqualError(t, err, `nebraska: GET /api/apps/app: 401 Unauthorized: "expired"`)
	refused, ok := errors.AsType[*nebraska.StatusError](err)
	require.True(t, ok)
	assert.Contains(t, refused.Hint(), "--token-file")

	answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }
	assert.ErrorContains(t, publish(), "is it a Nebraska?")
	answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 9<<20)) }
	assert.ErrorContains(t, publish(), "more than 8388608 bytes")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		t.Errorf("the token went elsewhere: %s", q.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	answer = func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, elsewhere.URL, http.StatusFound) }
	assert.ErrorIs(t, publish(), nebraska.ErrRedirect)
	answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }
	server.Close()
	assert.ErrorContains(t, publish(), "nebraska: ")
	assert.EqualError(t, (&nebraska.Server{}).Publish(t.Context(), pack(func(p *nebraska.Package) { p.Arch = "riscv64" }), nil),
		`nebraska: architecture "riscv64": it knows amd64 and arm64`)
}
