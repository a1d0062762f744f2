package main_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
)

func TestPublishUsage(t *testing.T) {
	dir := siteDir(t, "2.0.0", []byte("payload"))
	made := filepath.Join(dir, "alpha", "2.0.0")
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	for args, want := range map[string]string{
		"--url http://h --files http://f":                                       `2 publish: --to "": unknown`,
		"--to coreupdate --url http://h --files http://f":                       `2 publish: --to "coreupdate": unknown`,
		"--to nebraska --url http://h":                                          "2 publish: --files missing",
		"--to nebraska --files http://f":                                        `2 publish: --url "": not an address of the web`,
		"--to nebraska --url http://h --files ftp://f":                          `2 publish: --files "ftp://f": not an address of the web`,
		"--to nebraska --url http://h --files http://f --token-file " + token:   "1 publish: http://h: a token does not go there in the clear",
		"--to nebraska --url https://h --files http://f --token-file /dev/null": "1 /dev/null: not a token",
	} {
		status, stdout, stderr := run(t, append([]string{"publish", made}, strings.Fields(args)...)...)
		assert.Empty(t, stdout)
		assert.Contains(t, fmt.Sprint(status)+" "+strings.TrimPrefix(stderr, "slipway: "), want)
		assert.Contains(t, stderr, "\nhint: ")
	}
	publish := []string{"publish", made, "--to", "nebraska", "--url", "http://127.0.0.1:1", "--files", "http://f"}
	undo := flipByte(t, filepath.Join(made, release.Payload), 0)
	status, _, stderr := run(t, publish...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "update.payload: digest ")
	undo()
	require.NoError(t, os.Remove(filepath.Join(made, release.Payload)))
	status, _, stderr = run(t, publish...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "no update.payload to publish\nhint: slipway build --payload release makes one\n")
}

// A Nebraska that has everything already is not changed; one that refuses the
// token is quoted.
func TestPublishAgain(t *testing.T) {
	payload := []byte("payload")
	made := filepath.Join(siteDir(t, "2.0.0", payload), "alpha", "current")
	old, sum := sha1.Sum(payload), sha256.Sum256(payload)
	pack := fmt.Sprintf(`{"id":"p","version":"2.0.0","arch":1,"url":"https://cdn.example.net/x/alpha/2.0.0/","filename":"update.payload",`+
		`"size":"7","hash":%q,"flatcar_action":{"id":"a","sha256":%q}}`,
		base64.StdEncoding.EncodeToString(old[:]), base64.StdEncoding.EncodeToString(sum[:]))
	const channel = `{"id":"c","name":"alpha","arch":1,"package_id":"p"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		assert.Equal(t, http.MethodGet, q.Method, "nothing is changed")
		switch {
		case q.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusForbidden)
		case strings.HasSuffix(q.URL.Path, "/packages"):
			fmt.Fprintf(w, `{"totalCount":1,"packages":[%s]}`, pack)
		default:
			fmt.Fprintf(w, `{"id":"app","channels":[%s],"groups":[{"name":"g","track":"alpha","channel":%s,"policy_updates_enabled":true}]}`, channel, channel)
		}
	}))
	defer server.Close()
	args := []string{"publish", made, "--to", "nebraska", "--url", server.URL, "--files", "https://cdn.example.net/x"}
	status, _, stderr := run(t, args...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "403 Forbidden\nhint: --token-file FILE: the token of somebody with an administrator's role")
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	args = append(args, "--token-file", token)
	status, _, stderr = run(t, args...)
	assert.Zero(t, status, stderr)
	assert.Contains(t, stderr, "publish    slipway 2.0.0 is in channel alpha: nothing changed")
	status, stdout, stderr := run(t, append(args, "--json")...)
	assert.Zero(t, status, stderr)
	assert.Contains(t, stdout, `"changes":[],"channel":"alpha","dry_run":false,"payload":"https://cdn.example.net/x/alpha/2.0.0/update.payload"`)
}
