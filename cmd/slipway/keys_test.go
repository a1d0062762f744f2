package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/keyset"
)

// keySet makes a set with cheap development keys in a directory of the test.
func keySet(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	status, _, stderr := run(t, "keys", "new", "--keys", dir, "--development")
	require.Zero(t, status, stderr)
	return dir
}

// listed is what "keys list --json" says.
type listed struct {
	Version int
	Problem string
	Keys    []struct {
		keyset.Entry
		Kind, State, Private string
	}
}

func listKeys(t *testing.T, dir string) listed {
	t.Helper()
	status, stdout, stderr := run(t, "keys", "list", "--keys", dir, "--json")
	require.Zero(t, status, stderr)
	var l listed
	require.NoError(t, json.Unmarshal([]byte(stdout), &l))
	return l
}

// id finds the first key of a role that is not replaced.
func (l listed) id(t *testing.T, role keyset.Role) string {
	t.Helper()
	for _, k := range l.Keys {
		if k.Has(role) && k.ReplacedBy == "" && !k.Retired {
			return k.ID
		}
	}
	t.Fatalf("no key for role %s", role)
	return ""
}

func TestKeysLife(t *testing.T) {
	dir := keySet(t)
	l := listKeys(t, dir)
	assert.Equal(t, 1, l.Version)
	assert.Empty(t, l.Problem)
	require.Len(t, l.Keys, 3)
	for i, role := range keyset.Roles() {
		k := l.Keys[i]
		assert.Equal(t, []keyset.Role{role}, k.Roles)
		assert.Equal(t, "ecdsa-p256", k.Kind)
		assert.Equal(t, "signs, development", k.State)
		assert.Equal(t, k.ID+".key", k.Private)
		years := 5
		if role == keyset.Root {
			years = 10
		}
		assert.Equal(t, k.NotBefore.AddDate(years, 0, 0), *k.NotAfter)
		st, err := os.Stat(filepath.Join(dir, k.ID+".key"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), st.Mode())
	}
	old := l.id(t, keyset.Image)

	status, stdout, stderr := run(t, "keys", "rotate", "--keys", dir, "--role", "image", "--algorithm", "ed25519", "--starts", "2099-01-01", "--valid-for", "90d")
	require.Zero(t, status, stderr)
	l = listKeys(t, dir)
	next := l.id(t, keyset.Image)
	assert.Contains(t, stdout, "image key "+old+" is replaced by "+next+": slots are to be signed by both.")
	k := l.Keys[3]
	assert.Equal(t, "ed25519", k.Kind)
	assert.Equal(t, "not valid before 2099-01-01T00:00:00Z, development", k.State)
	assert.Equal(t, time.Date(2099, 4, 1, 0, 0, 0, 0, time.UTC), *k.NotAfter)
	assert.Equal(t, "signs, replaced by "+next+", development", l.Keys[1].State)

	status, _, stderr = run(t, "keys", "rotate", "--keys", dir, "--retire", old)
	assert.Equal(t, 1, status)
	assert.Equal(t, "slipway: key "+old+": the only one that signs as image\nhint: slipway keys rotate --role image\n", stderr)

	// The root key too can be replaced: the old one signs that it is.
	root := l.id(t, keyset.Root)
	status, _, stderr = run(t, "keys", "rotate", "--keys", dir, "--role", "root")
	require.Zero(t, status, stderr)
	status, _, stderr = run(t, "keys", "rotate", "--keys", dir, "--retire", root)
	require.Zero(t, status, stderr)
	l = listKeys(t, dir)
	assert.Empty(t, l.Problem)
	assert.Equal(t, 4, l.Version)
	assert.Equal(t, "retired, development", l.Keys[0].State)
	require.NoError(t, os.Remove(filepath.Join(dir, root+".key")), "it is not needed any more")
	status, _, stderr = run(t, "keys", "new", "--keys", dir, "--role", "payload", "--role", "image", "--development")
	require.Zero(t, status, stderr)

	status, stdout, stderr = run(t, "keys", "export", "--keys", dir, next)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "slipway DEVELOPMENT key")
	assert.Equal(t, 1, strings.Count(stdout, "BEGIN PUBLIC KEY"))
	status, stdout, _ = run(t, "keys", "export", "--keys", dir, "--role", "payload")
	require.Zero(t, status)
	assert.Equal(t, 2, strings.Count(stdout, "BEGIN PUBLIC KEY"))
}

func TestKeysRefuse(t *testing.T) {
	dir := keySet(t)
	image := listKeys(t, dir).id(t, keyset.Image)
	empty := t.TempDir()
	t.Setenv("SLIPWAY_KEY_PASSWORD", "")
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"keys nwe", 2, "slipway: keys \"nwe\": unknown\nhint: slipway keys --help\n"},
		{"keys list --keys EMPTY", 1, "slipway: EMPTY: no key set: there is no keys.json\nhint: slipway keys new --keys EMPTY\n"},
		{"keys new --keys EMPTY", 1, "slipway: no password to encrypt private keys with\nhint: export SLIPWAY_KEY_PASSWORD, or --key-password-file FILE\n"},
		{"keys new --keys EMPTY --role image --development", 1, "slipway: key set: no root key\n"},
		{"keys new --keys EMPTY --from x.pem", 2, "slipway: keys new: --from names one key; --role says for what\nhint: --role root --role image --role payload\n"},
		{"keys new --keys EMPTY --algorithm dsa --development", 2, "slipway: keys new: --algorithm \"dsa\": unknown\nhint: --algorithm ed25519, ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096\n"},
		{"keys new --keys SET", 2, "slipway: keys new: --role missing: there is a key set already\nhint: --role image\n"},
		{"keys new --keys SET --role boss", 2, "slipway: keys new: --role \"boss\": unknown\nhint: --role root, image or payload\n"},
		{"keys new --keys SET --role image --valid-for ever", 2, "slipway: keys new: --valid-for \"ever\": not a number of days or years\nhint: --valid-for 5y\n"},
		{"keys new --keys SET --role image --starts soon --development", 2, "slipway: keys new: --starts \"soon\": not a date\nhint: --starts 2027-01-31\n"},
		{"keys rotate --keys SET", 2, "slipway: keys rotate: neither --role nor --retire nor --simulate\nhint: --role image\n"},
		{"keys rotate --keys SET --retire 00ff", 1, "slipway: key \"00ff\": not in the key set in SET\nhint: slipway keys list --keys SET\n"},
		{"keys rotate --keys SET --simulate EMPTY", 1, "slipway: EMPTY: no release in it\nhint: --simulate out, where slipway build puts releases\n"},
		{"keys export --keys SET --format der", 2, "slipway: keys export: --format der is for one key, these are 3\nhint: slipway keys export KEY --format der\n"},
		{"keys export --keys SET IMAGE --format p12", 2, "slipway: keys export: --format \"p12\": unknown\nhint: --format pem, der, cosign, cert, esl or auth\n"},
		{"sign EMPTY", 1, "slipway: EMPTY: no release, no digests and no change of a key set to sign\nhint: slipway sign --help\n"},
		{"sign SET/keys.json", 2, "slipway: sign: --key missing: who signs?\nhint: --key REF, or --keys DIR\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			names := strings.NewReplacer("EMPTY", empty, "SET", dir, "IMAGE", image)
			before := listKeys(t, dir)
			status, stdout, stderr := run(t, strings.Fields(names.Replace(c.args))...)
			assert.Equal(t, c.status, status)
			if !strings.Contains(c.args, "nwe") {
				assert.Empty(t, stdout)
			}
			any := regexp.MustCompile(`export [0-9a-f]{16} --format`)
			assert.Equal(t, names.Replace(c.want), any.ReplaceAllString(stderr, "export KEY --format"))
			assert.Equal(t, before, listKeys(t, dir), "nothing has changed")
			left, err := os.ReadDir(empty)
			require.NoError(t, err)
			assert.Empty(t, left, "nothing is left")
		})
	}
}

// A change whose root key is elsewhere waits for it.
func TestRootKeyElsewhere(t *testing.T) {
	dir := keySet(t)
	root := listKeys(t, dir).id(t, keyset.Root)
	away, out := t.TempDir(), t.TempDir()
	key := filepath.Join(away, "root.key")
	require.NoError(t, os.Rename(filepath.Join(dir, root+".key"), key))
	status, text, stderr := run(t, "keys", "export", "--keys", dir, root)
	require.Zero(t, status, stderr)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "root.pem"), []byte(text), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "references.json"), []byte(`{"`+root+`": "public:root.pem"}`), 0o644))

	rotate := []string{"keys", "rotate", "--keys", dir, "--role", "image"}
	status, _, stderr = run(t, rotate...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "this key is not here, and there is nowhere to put digests\nhint: --digests-out DIR")
	require.Len(t, listKeys(t, dir).Keys, 3)

	status, _, stderr = run(t, append(rotate, "--digests-out", out)...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: 1 digest to sign in "+out+": ")
	require.Len(t, listKeys(t, dir).Keys, 3, "not yet")
	status, _, stderr = run(t, rotate...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "a change of the key set waits for its signature")

	status, _, stderr = run(t, "sign", out, "--key", key)
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "key set, version 2")
	status, _, stderr = run(t, "sign", dir, "--signatures-in", out)
	require.Zero(t, status, stderr)
	l := listKeys(t, dir)
	assert.Len(t, l.Keys, 4)
	assert.Empty(t, l.Problem)
}

// A file may hold the passwords of several keys.
func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	require.NoError(t, os.WriteFile(one, []byte("first\n"), 0o600))
	require.NoError(t, os.WriteFile(two, []byte("\nsecond\r\nfirst\n"), 0o600))
	set := filepath.Join(dir, "set")
	status, _, stderr := run(t, "keys", "new", "--keys", set, "--role", "root", "--algorithm", "ed25519", "--key-password-file", one)
	require.Zero(t, status, stderr)
	// The new key gets the first password, the root key has the other.
	status, _, stderr = run(t, "keys", "new", "--keys", set, "--role", "image", "--algorithm", "ed25519", "--key-password-file", two)
	require.Zero(t, status, stderr)
	image := listKeys(t, set).id(t, keyset.Image)
	t.Setenv("SLIPWAY_KEY_PASSWORD", "second")
	status, text, stderr := run(t, "keys", "export", "--keys", set, image, "--format", "cosign")
	require.Zero(t, status, stderr)
	assert.Contains(t, text, "BEGIN ENCRYPTED SIGSTORE PRIVATE KEY")
	status, _, stderr = run(t, "keys", "rotate", "--keys", set, "--role", "image")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, ".key\": the key is encrypted with another password\nhint: export SLIPWAY_KEY_PASSWORD, or --key-password-file FILE\n")
	left, err := os.ReadDir(set)
	require.NoError(t, err)
	assert.Len(t, left, 3, "the key made in vain is gone")
	require.NoError(t, os.WriteFile(two, []byte("\n"), 0o600))
	status, _, stderr = run(t, "keys", "rotate", "--keys", set, "--role", "image", "--key-password-file", two)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: "+two+": no password in it\n")
}

// A key set somebody changed is good for nothing.
func TestChangedKeySetIsRefused(t *testing.T) {
	newProject(t)
	dir := keySet(t)
	name := filepath.Join(dir, keyset.FileName)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(text), `"development": true`, `"development": false`, 1)), 0o644))
	root := listKeys(t, dir).Keys[0].ID
	for _, args := range [][]string{
		{"build", "--keys", dir}, {"keys", "rotate", "--keys", dir, "--role", "image"}, {"keys", "export", "--keys", dir},
	} {
		status, _, stderr := run(t, args...)
		assert.Equal(t, 1, status)
		assert.Equal(t, "slipway: "+name+": key set: bad signature by "+root+": the set was changed after it was signed\n"+
			"hint: slipway keys list --keys "+dir+"\n", stderr)
	}
	assert.Contains(t, listKeys(t, dir).Problem, "bad signature")
}

// Keys that must not sign are refused before anything is built.
func TestBuildRefusesKeys(t *testing.T) {
	p := newProject(t)
	dir := keySet(t)
	writeKey(t, "release.pem")
	development := filepath.Join(dir, listKeys(t, dir).id(t, keyset.Image)+".key")
	id := strings.TrimSuffix(filepath.Base(development), ".key")

	later := filepath.Join(t.TempDir(), "later")
	status, _, stderr := run(t, "keys", "new", "--keys", later, "--role", "root", "--development")
	require.Zero(t, status, stderr)
	for _, role := range []string{"image", "payload"} {
		status, _, stderr = run(t, "keys", "new", "--keys", later, "--role", role, "--development", "--starts", "2099-01-01")
		require.Zero(t, status, stderr)
	}
	future := listKeys(t, later).id(t, keyset.Image)
	lost := keySet(t)
	lostID := listKeys(t, lost).id(t, keyset.Payload)
	require.NoError(t, os.Remove(filepath.Join(lost, lostID+".key")))
	p.write("sealed.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")

	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--release", 1, "slipway: no key: a release is signed by keys of yours\n"},
		{"--release --key " + development, 1, "slipway: key " + id + ": a development key signs no release\n"},
		{"--release --keys " + dir, 1, "a development key signs no release\n"},
		{"--key release.pem --key " + development, 1, "slipway: key " + id + ": a development key does not go with "},
		{"--key release.pem --key release.pem", 2, "is given twice\n"},
		{"--keys " + dir + " --key release.pem", 1, ": not in the key set in " + dir + "\n"},
		{"--keys " + later, 1, "slipway: key " + future + ": not valid before 2099-01-01T00:00:00Z\n"},
		{"--keys " + lost, 1, "slipway: key " + lostID + ": its private half is neither in " + lost + " nor named in references.json\n"},
		{"--key sealed.pem", 1, "slipway: key \"sealed.pem\": the key is encrypted and there is no password\nhint: export SLIPWAY_KEY_PASSWORD"},
		{"--key public:release.pub", 1, "slipway: key \"public:release.pub\": no such file or directory\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := run(t, append([]string{"build"}, strings.Fields(c.args)...)...)
			assert.Equal(t, c.status, status)
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, c.want)
		})
	}
	assert.NoDirExists(t, "out")
}
