package download_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/download"
)

// content is what servers have.
var content = bytes.Repeat([]byte("0123456789abcdef"), 16<<10)

// site is a server that breaks connections.
type site struct {
	*httptest.Server
	requests []string // their ranges
	pauses   []time.Duration
	log      []string
}

func serve(t *testing.T, h http.HandlerFunc) *site {
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests = append(s.requests, r.Header.Get("Range"))
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// file is the server's file, read by somebody who never waits.
func (s *site) file() *download.File {
	return &download.File{
		Client: download.NewClient(), URLs: []string{s.URL + "/payload"}, Size: int64(len(content)),
		Sleep:    func(_ context.Context, d time.Duration) { s.pauses = append(s.pauses, d) },
		Random:   func() float64 { return 0.5 },
		Log:      func(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) },
		Patience: download.DefaultPatience,
	}
}

// whole serves all of the content, ranges included.
func whole(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"1"`)
	http.ServeContent(w, r, "payload", time.Time{}, bytes.NewReader(content))
}

// broken serves n bytes of what was asked for and breaks the connection.
func broken(w http.ResponseWriter, r *http.Request, n int) {
	whole(&short{w, n}, r)
}

type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		_, _ = s.ResponseWriter.Write(p[:s.left])
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

func TestGoesOnWhereItBroke(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { broken(w, r, 100_000) })
	stream := s.file().Open(t.Context(), 5)
	got, err := io.ReadAll(iotest.OneByteReader(stream))
	require.NoError(t, err)
	assert.Equal(t, content[5:], got)
	assert.Equal(t, []string{"bytes=5-", "bytes=100005-", "bytes=200005-"}, s.requests)
	assert.Equal(t, []time.Duration{time.Second, time.Second}, s.pauses, "bytes came in between")
	assert.Equal(t, `"1"`, stream.ETag())
	assert.Equal(t, int64(len(content)-5), stream.Received())
	assert.Equal(t, "download interrupted at 100005 of 262144 bytes: unexpected EOF; going on in 1s", s.log[0])
}

// A server that knows no ranges sends everything again.
func TestServerWithoutRanges(t *testing.T) {
	first := true
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		if first {
			first = false
			broken(w, r, 150_000)
		}
		whole(w, r)
	})
	stream := s.file().Open(t.Context(), 0)
	got, err := io.ReadAll(stream)
	require.NoError(t, err)
	assert.Equal(t, content, got)
	assert.Equal(t, int64(len(content)+150_000), stream.Received())
}

func TestGivesUp(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "not now", http.StatusServiceUnavailable)
	})
	_, err := io.ReadAll(s.file().Open(t.Context(), 0))
	assert.EqualError(t, err, "given up after 20 failures: "+s.URL+"/payload: 503 Service Unavailable")
	require.Len(t, s.pauses, 19)
	assert.Equal(t, 7*time.Second, s.pauses[0], "what the server asks for")
	assert.Equal(t, 32*time.Second, s.pauses[5])
	assert.Equal(t, time.Minute, s.pauses[18])
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		start int64
		etag  string
		want  string
	}{
		"not there": {serve: http.NotFound, want: "URL: 404 Not Found"},
		"larger": {
			serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[1000:]) },
			want:  "URL: 261144 bytes, should be 262144",
		},
		"another size in a range": {
			start: 10, want: "URL: 99 bytes, should be 262144",
			serve: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes 10-98/99")
				w.WriteHeader(http.StatusPartialContent)
			},
		},
		"changed": {start: 10, etag: `"0"`, serve: whole, want: "URL: the file has changed on the server"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.serve)
			f := s.file()
			f.ETag = tt.etag
			_, err := io.ReadAll(f.Open(t.Context(), tt.start))
			require.Error(t, err)
			assert.Equal(t, tt.want, strings.ReplaceAll(err.Error(), f.URLs[0], "URL"))
			assert.Len(t, s.requests, 1, "asking again would not help")
		})
	}
}

// What one server refuses, the next may have.
func TestNextURL(t *testing.T) {
	bad := serve(t, http.NotFound)
	s := serve(t, whole)
	f := s.file()
	f.URLs = append([]string{bad.URL}, f.URLs...)
	got, err := io.ReadAll(f.Open(t.Context(), 0))
	require.NoError(t, err)
	assert.Equal(t, content, got)
}

func TestSlow(t *testing.T) {
	release := make(chan struct{})
	var calls atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			whole(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		for i := 0; ; i++ { // alive, but hardly
			_, _ = w.Write(content[i : i+1])
			w.(http.Flusher).Flush()
			select {
			case <-release:
				return
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	defer close(release)
	f := s.file()
	f.Patience.Window = 100 * time.Millisecond
	got, err := io.ReadAll(f.Open(t.Context(), 0))
	require.NoError(t, err)
	assert.Equal(t, content, got)
	assert.Contains(t, s.log[0], "less than 61440 bytes in 100ms: too slow to go on")
}

// A reader that takes its time is not taken for a server that does.
func TestSlowReader(t *testing.T) {
	s := serve(t, whole)
	f := s.file()
	f.Patience.Window = 20 * time.Millisecond
	stream := f.Open(t.Context(), 0)
	for range 3 {
		_, err := io.ReadFull(stream, make([]byte, 1000))
		require.NoError(t, err)
		time.Sleep(40 * time.Millisecond) // the window, twice
	}
	assert.Len(t, s.requests, 1)
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { broken(w, r, 1000) })
	f := s.file()
	f.Sleep = func(context.Context, time.Duration) { cancel() }
	got, err := io.ReadAll(f.Open(ctx, 0))
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, content[:1000], got)
}

func TestRedirects(t *testing.T) {
	s := serve(t, whole)
	moved := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+r.URL.Path, http.StatusFound)
	})
	f := moved.file()
	got, err := io.ReadAll(f.Open(t.Context(), 7))
	require.NoError(t, err)
	assert.Equal(t, content[7:], got)

	secure := httptest.NewTLSServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer secure.Close()
	f.Client = secure.Client()
	f.Client.CheckRedirect = download.NewClient().CheckRedirect
	f.URLs, f.Patience.Failures = []string{secure.URL}, 1
	_, err = io.ReadAll(f.Open(t.Context(), 0))
	assert.ErrorContains(t, err, "redirect from https to http://"+strings.TrimPrefix(s.URL, "http://")+" refused")
}

// A server that is away answers nobody.
func TestServerComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(whole))
	f := s.file()
	f.URLs = []string{"http://" + address + "/payload"}
	f.Sleep = func(context.Context, time.Duration) {
		if s.pauses = append(s.pauses, 0); len(s.pauses) == 3 {
			l, err := net.Listen("tcp", address)
			require.NoError(t, err)
			s.Listener = l
			s.Start()
		}
	}
	got, err := io.ReadAll(f.Open(t.Context(), 0))
	require.NoError(t, err)
	assert.Equal(t, content, got)
	s.Server.Close()
}
