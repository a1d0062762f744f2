package main_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Wrong use is noticed before anything is fetched or made.
func TestWrongUseIsCheap(t *testing.T) {
	p := newProject(t) // nothing is published: an attempt to resolve fails
	p.write("twice/base/overlay.yaml", "description: a namesake\n")
	p.write("empty/README", "no overlay\n")
	p.write("file", "no directory\n")
	p.write("two/overlay.yaml", "packages: []\n---\npackages: [tool]\n")
	p.write("old.pem", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"+
		"DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n")
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"build --jobs 0", 2, `build: --jobs 0: less than one`},
		{"build --jobs -3", 2, `build: --jobs -3: less than one`},
		{"build --version 1.2.3.4", 2, `build: --version "1.2.3.4": not MAJOR.MINOR.PATCH`},
		{"build --version ../../x", 2, `build: --version "../../x": not MAJOR.MINOR.PATCH`},
		{"cache emtpy", 2, `cache "emtpy": unknown`},
		{"cache prune --days -1", 2, `cache prune: --days -1: negative`},
		{"build --overlay twice/base", 1, `overlay "twice/base": the image has a layer "base" already`},
		{"build --overlay empty", 1, `overlay "empty": overlay.yaml: no such file or directory`},
		{"build --overlay file", 1, `overlay "file": overlay.yaml: not a directory`},
		{"build --overlay two", 1, `two/overlay.yaml: more than one YAML document`},
		{"build --key none.pem", 1, `key "none.pem": no such file or directory`},
		{"build --key old.pem", 1, `key "old.pem": encrypted in the way of PEM headers`},
		{"inspect empty", 1, `empty: no release: there is no slipway.img`},
		{"inspect /dev/null", 1, `/dev/null: neither a file nor a block device`},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := run(t, strings.Fields(c.args)...)
			assert.Equal(t, c.status, status)
			assert.Empty(t, stdout)
			first, rest, _ := strings.Cut(stderr, "\n")
			assert.True(t, strings.HasPrefix(first, "slipway: "+c.want), stderr)
			assert.LessOrEqual(t, strings.Count(rest, "\n"), 1, stderr)
		})
	}
	assert.NoDirExists(t, "out")
}

// A mirror that is not there or refuses says so, with what to type.
func TestMirrorThatFails(t *testing.T) {
	newProject(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	status, _, stderr := run(t, "lock", "--mirror", refusing.URL+"/debian")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "/InRelease: 403 Forbidden\nhint: --mirror URL names another mirror\n")
	assert.NoFileExists(t, "packages.lock")
}

// A disk that forgets must not poison the cache: what differs from its digest
// is fetched again.
func TestDamagedStoreIsMended(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	cache := os.Getenv("SLIPWAY_CACHE")
	damageStore(t, cache)
	entries, err := filepath.Glob(filepath.Join(cache, "unpacked", "*", "data"))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	data, err := os.ReadFile(entries[0])
	require.NoError(t, err)
	data[0] ^= 0xff
	require.NoError(t, os.WriteFile(entries[0], data, 0o644))
	status, stdout, stderr := run(t, "cache", "verify")
	require.Equal(t, 0, status, stderr)
	assert.Contains(t, stdout, filepath.Join("unpacked", filepath.Base(filepath.Dir(entries[0])))+": damaged, deleted\n")
	assert.Contains(t, stdout, ": 3 damaged\n")
	status, _, stderr = run(t, "lock", "--file", "verified.lock")
	require.Equal(t, 0, status, stderr)
	assert.Equal(t, string(p.file("packages.lock")), string(p.file("verified.lock")))
}

// The same without anybody asking for it, as far as a build notices.
func TestDamagedPackageIsFetchedAgain(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	cache := os.Getenv("SLIPWAY_CACHE")
	damageStore(t, cache)
	require.NoError(t, os.RemoveAll(filepath.Join(cache, "unpacked")))
	status, _, stderr = run(t, "lock", "--file", "again.lock")
	require.Equal(t, 0, status, stderr)
	assert.Contains(t, stderr, "damaged since it was fetched; fetching it again")
	assert.Equal(t, string(p.file("packages.lock")), string(p.file("again.lock")))
}

// damageStore flips a byte in both packages.
func damageStore(t *testing.T, cache string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "store", "??", "*"))
	require.NoError(t, err)
	damaged := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.HasPrefix(string(data), "!<arch>") {
			data[len(data)/2] ^= 0xff
			require.NoError(t, os.Remove(name))
			require.NoError(t, os.WriteFile(name, data, 0o444))
			damaged++
		}
	}
	require.Equal(t, 2, damaged)
}

func (p *project) file(name string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.root, name))
	require.NoError(p.t, err)
	return data
}

// Opening a pipe waits for a writer that may never come.
func TestInspectDoesNotWaitForAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o644))
	status, _, stderr := run(t, "inspect", pipe)
	assert.Equal(t, 1, status)
	assert.Equal(t, "slipway: "+pipe+": neither a file nor a block device\n", stderr)
}

// Many errors of one kind do not flood the line.
func TestManyProblemsAreCounted(t *testing.T) {
	p := newProject(t)
	files := "files:\n"
	for _, c := range "abcdefghij" {
		files += "  usr/lib/x/" + string(c) + ": {content: a}\n"
	}
	p.overlay("packages: [tool]\n" + files)
	p.write("more/overlay.yaml", "files:\n  usr/lib/x: {content: b, replace: true}\n")
	status, _, stderr := run(t, "build", "--overlay", "more")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "; and 5 more\n")
	assert.NoDirExists(t, filepath.Join(p.root, "out"))
}

// A lock file is for everybody to read.
func TestLockFileIsReadable(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	st, err := os.Stat("packages.lock")
	require.NoError(t, err)
	assert.EqualValues(t, 0o644, st.Mode().Perm())
}
