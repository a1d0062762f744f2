package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/store"
)

// bigDeb has content that no byte range of repeats.
func bigDeb(name string, size int) deb {
	content := make([]byte, 0, size)
	for sum := sha256.Sum256([]byte(name)); len(content) < size; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	return deb{name: name, version: "1", content: content[:size]}
}

func mirrorOf(debs ...deb) files {
	f := files{}
	for _, d := range debs {
		f[d.path()] = d.content
	}
	return f
}

func downloads(debs ...deb) []archive.Download {
	var all []archive.Download
	for _, d := range debs {
		all = append(all, d.download())
	}
	return all
}

// sendSome answers a request with a part of the file and ends the connection.
func sendSome(w http.ResponseWriter, r *http.Request, data []byte, n int) {
	from := 0
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(data[from:min(len(data), from+n)])
	w.(http.Flusher).Flush()
}

func requireStored(t *testing.T, c *archive.Client, debs ...deb) {
	t.Helper()
	for _, d := range debs {
		data, err := os.ReadFile(c.Store.Path(d.download().SHA256))
		require.NoError(t, err)
		require.True(t, bytes.Equal(d.content, data), d.name)
	}
}

func TestFetch(t *testing.T) {
	debs := []deb{bigDeb("a", 300_000), bigDeb("b", 1), bigDeb("c", 70_000), bigDeb("d", 2)}
	m := serve(t, mirrorOf(debs...))
	var steps []archive.Progress
	c := client(t, m, func(o *archive.Options) { o.Progress = func(p archive.Progress) { steps = append(steps, p) } })
	twice := append(downloads(debs...), downloads(debs[2])...)
	require.NoError(t, c.Fetch(t.Context(), twice))
	requireStored(t, c, debs...)
	assert.Len(t, m.requests(), 4)
	assert.Equal(t, archive.Progress{Files: 4, Bytes: 370_003}, steps[0])
	assert.Equal(t, archive.Progress{Files: 4, FilesDone: 4, Bytes: 370_003, BytesDone: 370_003}, steps[len(steps)-1])
	for i := range steps[1:] {
		assert.LessOrEqual(t, steps[i].BytesDone, steps[i+1].BytesDone)
	}
	require.NoError(t, c.Fetch(t.Context(), twice))
	assert.Empty(t, m.requests(), "nothing is fetched twice")
	require.NoError(t, c.Fetch(t.Context(), nil))
}

func TestFetchResumes(t *testing.T) {
	d := bigDeb("a", 300_000)
	m := serve(t, mirrorOf(d))
	cuts := 0
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		cuts++
		if cuts <= 2 {
			sendSome(w, r, data, 100_000)
			panic(http.ErrAbortHandler)
		}
		return false
	}
	c := client(t, m)
	require.NoError(t, c.Fetch(t.Context(), downloads(d)))
	requireStored(t, c, d)
	assert.Equal(t, []string{d.path(), d.path() + " bytes=100000-", d.path() + " bytes=200000-"}, m.requests())
}

func TestFetchResumesInALaterRun(t *testing.T) {
	d := bigDeb("a", 300_000)
	m := serve(t, mirrorOf(d))
	ctx, cancel := context.WithCancel(t.Context())
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		sendSome(w, r, data, 100_000)
		<-r.Context().Done()
		return true
	}
	c := client(t, m, func(o *archive.Options) {
		o.Progress = func(p archive.Progress) {
			if p.BytesDone == 100_000 {
				cancel() // as Ctrl-C does
			}
		}
	})
	err := c.Fetch(ctx, downloads(d))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, context.Canceled.Error(), err.Error())
	usage, err := c.Store.Usage()
	require.NoError(t, err)
	assert.Equal(t, store.Usage{Partials: 1, PartialBytes: 100_000}, usage)

	m.requests()
	m.hook = nil
	require.NoError(t, c.Fetch(t.Context(), downloads(d)))
	requireStored(t, c, d)
	assert.Equal(t, []string{d.path() + " bytes=100000-"}, m.requests())
}

// leavePartial puts content where an interrupted download of d would be.
func leavePartial(t *testing.T, c *archive.Client, d deb, content []byte) {
	t.Helper()
	sum := d.download().SHA256
	name := filepath.Join(filepath.Dir(filepath.Dir(c.Store.Path(sum))), "partial", sum.String())
	require.NoError(t, os.WriteFile(name, content, 0o644))
}

func TestFetchOverPartials(t *testing.T) {
	d := bigDeb("a", 300_000)
	for _, c := range []struct {
		name    string
		partial []byte
		hook    func(http.ResponseWriter, *http.Request, []byte) bool
		asked   []string
	}{{
		name: "good", partial: d.content[:1000],
		asked: []string{" bytes=1000-"},
	}, {
		name: "complete", partial: d.content,
	}, {
		name: "wrong bytes", partial: make([]byte, 1000),
		asked: []string{" bytes=1000-", ""},
	}, {
		name: "too long", partial: make([]byte, 300_001),
		asked: []string{""},
	}, {
		name: "server without ranges", partial: d.content[:1000],
		hook: func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			_, _ = w.Write(data)
			return true
		},
		asked: []string{" bytes=1000-"},
	}, {
		name: "server that refuses the range", partial: d.content[:1000],
		hook: func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			return false
		},
		asked: []string{" bytes=1000-", ""},
	}, {
		name: "server that sends another range", partial: d.content[:1000],
		hook: func() func(http.ResponseWriter, *http.Request, []byte) bool {
			once := false
			return func(w http.ResponseWriter, r *http.Request, data []byte) bool {
				if once {
					return false
				}
				once = true
				w.Header().Set("Content-Range", "bytes 500-299999/300000")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[500:])
				return true
			}
		}(),
		asked: []string{" bytes=1000-", " bytes=1000-"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, mirrorOf(d))
			m.hook = c.hook
			cl := client(t, m)
			leavePartial(t, cl, d, c.partial)
			require.NoError(t, cl.Fetch(t.Context(), downloads(d)))
			requireStored(t, cl, d)
			var asked []string
			for _, a := range m.requests() {
				asked = append(asked, strings.TrimPrefix(a, d.path()))
			}
			assert.Equal(t, c.asked, asked)
		})
	}
}

func TestFetchErrors(t *testing.T) {
	d := bigDeb("curl", 300_000)
	evil := bytes.Clone(d.content)
	evil[1000]++
	sum := d.download().SHA256
	for _, c := range []struct {
		name    string
		content []byte
		hook    func(http.ResponseWriter, *http.Request, []byte) bool
		wantErr string // with the file's address as URL
		asked   int
	}{{
		name: "another content", content: evil, asked: 3,
		wantErr: fmt.Sprintf("curl 1: URL: sha256 mismatch: want %s, got %x", sum, sha256.Sum256(evil)),
	}, {
		name: "shorter on the mirror", content: d.content[:1000], asked: 3,
		wantErr: "curl 1: URL: size mismatch: want 300000 bytes, got 1000",
	}, {
		name: "longer on the mirror", content: append(bytes.Clone(d.content), 1), asked: 3,
		wantErr: "curl 1: URL: size mismatch: want 300000 bytes, got ",
	}, {
		name: "gone", asked: 1,
		wantErr: "curl 1: gone from the mirror: no file at URL",
	}, {
		name: "forbidden", asked: 1,
		hook: func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		},
		wantErr: "curl 1: URL: 403 Forbidden",
	}, {
		name: "busy", asked: 3,
		hook: func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		},
		wantErr: "curl 1: URL: 503 Service Unavailable",
	}, {
		name: "always cut short", content: d.content, asked: 3,
		hook: func(w http.ResponseWriter, r *http.Request, data []byte) bool {
			sendSome(w, r, data, 10_000)
			panic(http.ErrAbortHandler)
		},
		wantErr: "curl 1: URL: unexpected EOF",
	}} {
		t.Run(c.name, func(t *testing.T) {
			f := files{}
			if c.content != nil {
				f[d.path()] = c.content
			}
			m := serve(t, f)
			m.hook = c.hook
			cl := client(t, m)
			err := cl.Fetch(t.Context(), downloads(d))
			require.Error(t, err)
			want := strings.Replace(c.wantErr, "URL", m.URL+"/debian/"+d.path(), 1)
			assert.True(t, strings.HasPrefix(err.Error(), want), "%s\n%s", want, err)
			assert.Len(t, m.requests(), c.asked)
			assert.False(t, cl.Store.Has(sum), "the store is never poisoned")
		})
	}
}

func TestFetchMissing(t *testing.T) {
	debs := []deb{bigDeb("a", 10), bigDeb("b", 20), bigDeb("c", 30), bigDeb("d", 40)}
	m := serve(t, mirrorOf(debs[1], debs[3]))
	c := client(t, m)
	err := c.Fetch(t.Context(), downloads(debs...))
	require.EqualError(t, err, "a 1: gone from the mirror: no file at "+m.URL+"/debian/"+debs[0].path()+" (and 1 more files)")
	assert.Contains(t, hint(err), "keeps old versions")
	assert.Contains(t, hint(err), "slipway lock")
	requireStored(t, c, debs[1], debs[3])
}

func TestFetchSlowServer(t *testing.T) {
	d := bigDeb("a", 300_000)
	m := serve(t, mirrorOf(d))
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		sendSome(w, r, data, 1000)
		<-r.Context().Done()
		return true
	}
	c := client(t, m, func(o *archive.Options) { o.Stall = 50 * time.Millisecond })
	err := c.Fetch(t.Context(), downloads(d))
	require.EqualError(t, err, "a 1: "+m.URL+"/debian/"+d.path()+": 3000 of 300000 bytes received, then nothing for 50ms")
	var stall *archive.StallError
	require.ErrorAs(t, err, &stall)
	assert.Contains(t, hint(err), "nearer mirror")

	m.hook = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		<-r.Context().Done()
		return true
	}
	_, err = c.Suite(t.Context(), &archive.SuiteOptions{Suite: "trixie", Now: now})
	require.EqualError(t, err, `suite "trixie": `+m.URL+"/debian/dists/trixie/InRelease: 0 bytes received, then nothing for 50ms")
}

// A server that trickles is slow but alive.
func TestFetchTrickle(t *testing.T) {
	d := bigDeb("a", 20)
	m := serve(t, mirrorOf(d))
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		for i := range data {
			_, _ = w.Write(data[i : i+1])
			w.(http.Flusher).Flush()
			time.Sleep(15 * time.Millisecond)
		}
		return true
	}
	c := client(t, m, func(o *archive.Options) { o.Stall = 200 * time.Millisecond })
	require.NoError(t, c.Fetch(t.Context(), downloads(d)))
}

func TestFetchMirrorDown(t *testing.T) {
	m := serve(t, nil)
	m.Close()
	c := client(t, m)
	err := c.Fetch(t.Context(), downloads(bigDeb("a", 10)))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "a 1: "+m.URL+"/debian/pool/main/a_1_amd64.deb: dial tcp")
	assert.Contains(t, err.Error(), "connection refused")
}

func TestFetchOneErrorEndsTheRest(t *testing.T) {
	debs := []deb{bigDeb("a", 10), bigDeb("b", 300_000)}
	m := serve(t, mirrorOf(debs...))
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		if strings.Contains(r.URL.Path, "a_1") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		sendSome(w, r, data, 1000)
		<-r.Context().Done()
		return true
	}
	err := client(t, m).Fetch(t.Context(), downloads(debs...))
	require.EqualError(t, err, "a 1: "+m.URL+"/debian/"+debs[0].path()+": 403 Forbidden")
}

func TestFetchBadPath(t *testing.T) {
	c := client(t, serve(t, nil))
	for _, p := range []string{"../x", "/x", "a//b", "", "a/../../b", "a\nb"} {
		d := bigDeb("a", 1).download()
		d.Path = p
		err := c.Fetch(t.Context(), []archive.Download{d})
		require.EqualError(t, err, fmt.Sprintf(`a 1: archive "debian": bad path %q`, p))
	}
}

func TestFetchTwoClientsOneStore(t *testing.T) {
	debs := []deb{bigDeb("a", 200_000), bigDeb("b", 200_000), bigDeb("c", 200_000)}
	m := serve(t, mirrorOf(debs...))
	dir := t.TempDir()
	errs := make(chan error)
	var done atomic.Int32
	for range 4 {
		st, err := store.Open(dir)
		require.NoError(t, err)
		c := client(t, m, func(o *archive.Options) { o.Store = st })
		go func() {
			err := c.Fetch(t.Context(), downloads(debs...))
			done.Add(1)
			errs <- err
		}()
	}
	var all error
	for range 4 {
		all = errors.Join(all, <-errs)
	}
	require.NoError(t, all)
	assert.Len(t, m.requests(), 3, "each file is fetched once")
}

func TestFetchRedirected(t *testing.T) {
	d := bigDeb("a", 1000)
	other := serve(t, mirrorOf(d))
	to := other.URL + "/debian/" + d.path()
	m := serve(t, nil)
	m.hook = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		http.Redirect(w, r, to, http.StatusFound)
		return true
	}
	c := client(t, m)
	require.NoError(t, c.Fetch(t.Context(), downloads(d)))
	requireStored(t, c, d)

	d = bigDeb("b", 1000)
	file := filepath.Join(t.TempDir(), "b")
	require.NoError(t, os.WriteFile(file, d.content, 0o644))
	to = "file://" + file
	m.requests()
	err := c.Fetch(t.Context(), downloads(d))
	require.EqualError(t, err, "b 1: "+m.URL+"/debian/"+d.path()+": redirected to "+to+": only http and https are followed")
	assert.Len(t, m.requests(), 1)
	to = m.URL + "/debian/" + d.path()
	require.ErrorContains(t, c.Fetch(t.Context(), downloads(d)), "that is the tenth time")
}

func TestFetchLeavesEncryption(t *testing.T) {
	d := bigDeb("a", 1000)
	plain := serve(t, mirrorOf(d))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/debian/"+d.path(), http.StatusFound))
	t.Cleanup(secure.Close)
	c := client(t, plain, func(o *archive.Options) {
		o.Mirrors = archive.Mirrors{"debian": secure.URL}
		o.Transport = secure.Client().Transport
	})
	require.ErrorContains(t, c.Fetch(t.Context(), downloads(d)), "that is not encrypted any more")
}
