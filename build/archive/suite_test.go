package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/store"
)

var someDebs = []deb{
	{name: "bash", version: "5.2-1", fields: "Depends: libc6 (>= 2)\nEssential: yes\nInstalled-Size: 7000\n", content: []byte("bash")},
	{name: "awk", version: "1", fields: "Provides: shell, v (= 2) ,\n x:any\n", content: []byte("awk")},
	{name: "bash", version: "5.1-1", fields: "Provides: shell\n", content: []byte("old bash")},
}

func names(packages []*archive.Package) []string {
	var all []string
	for _, p := range packages {
		all = append(all, p.String())
	}
	return all
}

func TestSuite(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	const xz = "dists/trixie/main/binary-amd64/Packages.xz"
	for _, c := range []struct {
		name    string
		head    string
		change  func(files)
		hook    func(http.ResponseWriter, *http.Request, []byte) bool
		options archive.SuiteOptions
		wantErr string // with the mirror's address as MIRROR
		hint    string
	}{
		{name: "plain"},
		{name: "by hash", head: "Acquire-By-Hash: yes\n"},
		{name: "only uncompressed", change: func(f files) { delete(f, xz) }},
		{name: "promised by hash, but there by name only", head: "Acquire-By-Hash: yes\n", change: func(f files) {
			for name := range f {
				if strings.Contains(name, "by-hash") {
					f["dists/trixie/main/binary-amd64/Packages"] = packagesFile(someDebs...)
					delete(f, name)
				}
			}
		}},
		{
			name: "no suite", options: archive.SuiteOptions{Suite: "trixi"},
			wantErr: `suite "trixi": archive "debian" has no such suite: no file at MIRROR/debian/dists/trixi/InRelease`,
			hint:    "check the suite's name, and the mirror (--mirror debian=URL)",
		},
		{
			name: "no component", options: archive.SuiteOptions{Components: []string{"main", "contrib"}},
			wantErr: `InRelease of trixie: no such index: contrib/binary-amd64/Packages (component "contrib", architecture "amd64")`,
			hint:    "check the names of components, and the architecture",
		},
		{
			name: "no mirror", options: archive.SuiteOptions{Archive: "other"},
			wantErr: `archive "other": no mirror is known (--mirror other=URL)`,
		},
		{
			name: "index gone",
			change: func(f files) {
				delete(f, xz)
				delete(f, "dists/trixie/main/binary-amd64/Packages")
			},
			wantErr: "index main/binary-amd64/Packages of trixie: gone from the mirror: no file at MIRROR/debian/dists/trixie/main/binary-amd64/Packages",
			hint:    "use a mirror that keeps old versions (--mirror URL), or take today's packages with `slipway lock`",
		},
		{
			name:   "index of another day",
			change: func(f files) { f[xz] = bytes.Repeat([]byte("x"), len(f[xz])) },
			wantErr: fmt.Sprintf("index main/binary-amd64/Packages.xz of trixie: MIRROR/debian/%s: sha256 mismatch: want WANT, got %x",
				xz, sha256.Sum256(bytes.Repeat([]byte("x"), len(packXZ(t, packagesFile(someDebs...)))))),
		},
		{
			name: "server error",
			hook: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				w.WriteHeader(http.StatusBadGateway)
				return true
			},
			wantErr: `suite "trixie": MIRROR/debian/dists/trixie/InRelease: 502 Bad Gateway`,
			hint:    "--mirror URL names another mirror",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := files{}
			f.publish(t, key, "trixie", c.head, someDebs...)
			want := fmt.Sprintf("%x", sha256.Sum256(f[xz]))
			if c.change != nil {
				c.change(f)
			}
			m := serve(t, f)
			m.hook = c.hook
			o := c.options
			if o.Suite == "" {
				o.Suite = "trixie"
			}
			o.Keys, o.Now = keyRing(t, key), now
			s, err := client(t, m).Suite(t.Context(), &o)
			if c.wantErr != "" {
				text := strings.NewReplacer("MIRROR", m.URL, "WANT", want).Replace(c.wantErr)
				require.EqualError(t, err, text)
				assert.Equal(t, c.hint, hint(err))
				return
			}
			require.NoError(t, err)
			defer s.Close()
			checkSomeDebs(t, s)
		})
	}
}

// checkSomeDebs looks at everything an index of someDebs must answer.
func checkSomeDebs(t *testing.T, s *archive.Suite) {
	t.Helper()
	require.Len(t, s.Indexes, 1)
	x := s.Indexes[0]
	assert.Equal(t, 3, x.Len())
	assert.Equal(t, []string{"awk", "bash"}, slices.Collect(x.Names()))
	bash, err := x.Named("bash")
	require.NoError(t, err)
	require.Equal(t, []string{"bash 5.2-1", "bash 5.1-1"}, names(bash))
	assert.Equal(t, &archive.Package{
		Name: "bash", Version: "5.2-1", Architecture: "amd64", Depends: "libc6 (>= 2)", Essential: true,
		InstalledSize: 7000 * 1024, Path: "pool/main/bash_5.2-1_amd64.deb", Size: 4,
		SHA256: sha256.Sum256([]byte("bash")), Archive: "debian", Suite: "trixie", Component: "main",
	}, bash[0])
	again, err := x.Named("bash")
	require.NoError(t, err)
	assert.Same(t, bash[0], again[0])
	for name, want := range map[string][]string{
		"shell": {"awk 1", "bash 5.1-1"}, "v": {"awk 1"}, "x": {"awk 1"}, "awk": nil, "": nil, "zzz": nil,
	} {
		p, err := x.Providing(name)
		require.NoError(t, err)
		assert.Equal(t, want, names(p), name)
	}
	for _, name := range []string{"", "a", "bas", "bashh", "zsh"} {
		p, err := x.Named(name)
		require.NoError(t, err)
		assert.Empty(t, p, name)
	}
}

func TestSuiteFetchesOnlyWhatIsNew(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	f := files{}
	f.publish(t, key, "trixie", "", someDebs...)
	m := serve(t, f)
	var progress archive.Progress
	c := client(t, m, func(o *archive.Options) { o.Progress = func(p archive.Progress) { progress = p } })
	o := &archive.SuiteOptions{Suite: "trixie", Keys: keyRing(t, key), Now: now}
	open := func() {
		s, err := c.Suite(t.Context(), o)
		require.NoError(t, err)
		checkSomeDebs(t, s)
		require.NoError(t, s.Close())
	}
	open()
	assert.Equal(t, []string{"dists/trixie/InRelease", "dists/trixie/main/binary-amd64/Packages.xz"}, m.requests())
	assert.Equal(t, 1, progress.FilesDone)
	usage, err := c.Store.Usage()
	require.NoError(t, err)
	assert.Equal(t, 1, usage.Files, "the compressed index is not kept")

	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		assert.NotEmpty(t, r.Header.Get("If-None-Match"))
		return false
	}
	open()
	assert.Equal(t, []string{"dists/trixie/InRelease"}, m.requests(), "asked whether it changed")

	// A damaged directory file is made anew, a damaged InRelease fetched anew.
	for _, name := range dirNames(t, c.Dir) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, os.WriteFile(name, data, 0o644))
	}
	m.hook = nil
	open()
	require.NoError(t, os.RemoveAll(c.Dir))
	open()
	assert.Len(t, m.requests(), 2)
}

// A bad InRelease is not kept, so its ETag cannot bring it back.
func TestSuiteRecoversFromABadMirror(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	f := files{}
	f.publish(t, key, "trixie", "", someDebs...)
	m := serve(t, f)
	m.hook = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		w.Header().Set("ETag", `"same"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		_, _ = w.Write([]byte("<html>please log in</html>"))
		return true
	}
	c := client(t, m)
	o := &archive.SuiteOptions{Suite: "trixie", Keys: keyRing(t, key), Now: now}
	for range 2 {
		_, err := c.Suite(t.Context(), o)
		require.EqualError(t, err, "InRelease of trixie: not signed: it does not begin as a signed message")
	}
	m.hook = nil
	s, err := c.Suite(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func dirNames(t *testing.T, dir string) []string {
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, all, 2)
	return all
}

func TestSuiteOfFileMirror(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	f := files{}
	f.publish(t, key, "trixie", "", someDebs...)
	dir := filepath.Join(t.TempDir(), "a mirror", "debian")
	for name, data := range f {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	mirrors, err := archive.ParseMirrors("file://" + strings.ReplaceAll(dir, " ", "%20"))
	require.NoError(t, err)
	st, err := store.Open(t.TempDir())
	require.NoError(t, err)
	c := archive.New(&archive.Options{Mirrors: mirrors, Store: st, Dir: t.TempDir(), Backoff: time.Millisecond})
	s, err := c.Suite(t.Context(), &archive.SuiteOptions{Suite: "trixie", Keys: keyRing(t, key), Now: now})
	require.NoError(t, err)
	defer s.Close()
	checkSomeDebs(t, s)
	require.NoError(t, c.Fetch(t.Context(), []archive.Download{someDebs[0].download()}))
	data, err := os.ReadFile(st.Path(sha256.Sum256([]byte("bash"))))
	require.NoError(t, err)
	assert.Equal(t, "bash", string(data))
	err = c.Fetch(t.Context(), []archive.Download{(deb{name: "no", version: "1", content: []byte("x")}).download()})
	var missing *archive.MissingError
	require.ErrorAs(t, err, &missing)
}

func TestIndexForms(t *testing.T) {
	plain := packagesFile(someDebs...)
	key := newKey(t, made.Add(-time.Hour), 0)
	const name = "main/binary-amd64/Packages"
	bomb := packXZ(t, append(bytes.Clone(plain), bytes.Repeat([]byte{0}, 8<<20)...))
	for _, c := range []struct {
		name    string
		ext     string
		data    []byte
		wantErr string
	}{
		{name: "gz", ext: ".gz", data: packGZ(t, plain)},
		{name: "xz", ext: ".xz", data: packXZ(t, plain)},
		{name: "zst", ext: ".zst", data: packZST(t, plain)},
		{
			name: "larger than promised", ext: ".xz", data: bomb,
			wantErr: fmt.Sprintf("index %s.xz of trixie: size mismatch: want %d bytes, got %d", name, len(plain), len(plain)+1),
		},
		{name: "not xz", ext: ".xz", data: []byte("hello"), wantErr: "index " + name + ".xz of trixie: xz: data is truncated or corrupt"},
		{name: "not gz", ext: ".gz", data: []byte("hello, world, hello"), wantErr: "index " + name + ".gz of trixie: gzip: invalid header"},
		{name: "not zst", ext: ".zst", data: []byte("hello"), wantErr: "index " + name + ".zst of trixie: invalid input: magic number mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := files{name: plain, name + c.ext: c.data}
			f := files{
				"dists/trixie/InRelease":       sign(t, suiteText("trixie", "", content), made, key),
				"dists/trixie/" + name + c.ext: c.data,
			}
			s, err := client(t, serve(t, f)).Suite(t.Context(), &archive.SuiteOptions{
				Suite: "trixie", Keys: keyRing(t, key), Now: now,
			})
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			defer s.Close()
			checkSomeDebs(t, s)
		})
	}
}

func TestSuiteCancelled(t *testing.T) {
	m := serve(t, files{})
	ctx, cancel := context.WithCancel(t.Context())
	m.hook = func(http.ResponseWriter, *http.Request, []byte) bool {
		cancel()
		<-time.After(20 * time.Millisecond)
		return true
	}
	_, err := client(t, m).Suite(ctx, &archive.SuiteOptions{Suite: "trixie", Now: now})
	require.ErrorIs(t, err, context.Canceled)
}

func TestSuites(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	f := files{}
	f.publish(t, key, "trixie", "", someDebs...)
	f.publish(t, key, "trixie-security", "", someDebs[1])
	c := client(t, serve(t, f))
	options := func(names ...string) []*archive.SuiteOptions {
		var all []*archive.SuiteOptions
		for _, n := range names {
			all = append(all, &archive.SuiteOptions{Suite: n, Keys: keyRing(t, key), Now: now})
		}
		return all
	}
	suites, err := c.Suites(t.Context(), options("trixie", "trixie-security", "stable"))
	var missing *archive.SuiteMissingError
	require.ErrorAs(t, err, &missing)
	require.Nil(t, suites)
	suites, err = c.Suites(t.Context(), options("trixie", "trixie-security"))
	require.NoError(t, err)
	checkSomeDebs(t, suites[0])
	assert.Equal(t, 1, suites[1].Indexes[0].Len())
	p, err := suites[1].Indexes[0].Named("awk")
	require.NoError(t, err)
	assert.Equal(t, "trixie-security", p[0].Suite)
	require.NoError(t, c.Fetch(t.Context(), []archive.Download{p[0].Download()}))
	requireStored(t, c, someDebs[1])
	for _, s := range suites {
		require.NoError(t, s.Close())
	}
}
