package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/signing/keyset"
)

// built runs a build and gives the release directory.
func built(t *testing.T, args ...string) string {
	t.Helper()
	status, stdout, stderr := run(t, append([]string{"build"}, args...)...)
	require.Zero(t, status, stderr)
	lines := strings.Fields(stdout)
	require.NotEmpty(t, lines)
	return lines[len(lines)-1]
}

// exported writes the public half of a key of a set to a file.
func exported(t *testing.T, set, id string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), id+".pem")
	status, _, stderr := run(t, "keys", "export", "--keys", set, id, "-o", name)
	require.Zero(t, status, stderr)
	return name
}

// TestRotationDrill replaces the keys of a fleet: what is built meanwhile
// suits machines of old and new versions, and what would strand the old ones is
// known before it is done.
func TestRotationDrill(t *testing.T) {
	if testing.Short() {
		t.Skip("builds images")
	}
	set, out := keySet(t), filepath.Join(t.TempDir(), "out")
	l := listKeys(t, set)
	oldImage, oldPayload := l.id(t, keyset.Image), l.id(t, keyset.Payload)
	first := built(t, "--keys", set, "--payload", "none", "--out", out, "--version", "1.0.0")

	status, _, stderr := run(t, "keys", "rotate", "--keys", set, "--role", "image", "--role", "payload")
	require.Zero(t, status, stderr)
	l = listKeys(t, set)
	newImage, newPayload := l.id(t, keyset.Image), l.id(t, keyset.Payload)
	second := built(t, "--keys", set, "--payload", "none", "--out", out, "--version", "2.0.0")

	// The new release is good for those who know only the old keys, and for
	// those who know only the new ones.
	for _, pair := range [][]string{{oldImage, oldPayload}, {newImage, newPayload}} {
		status, _, stderr = run(t, "verify", second, "--pub", exported(t, set, pair[0]), "--pub", exported(t, set, pair[1]))
		assert.Zero(t, status, stderr)
	}
	// So does a key set, each key for what it is for.
	status, _, stderr = run(t, "verify", second, "--pub", set)
	assert.Zero(t, status, stderr)
	status, _, stderr = run(t, "verify", second, "--pub", exported(t, set, oldImage), "--pub", filepath.Join(aged(t), keyset.FileName))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: release.json.sig: not signed by an accepted key: ")

	simulate := func(args ...string) (int, string) {
		status, stdout, stderr := run(t, append([]string{"keys", "rotate", "--keys", set, "--simulate", out}, args...)...)
		squeezed := strings.Join(strings.Fields(stdout), " ") + "\n" + stderr
		return status, strings.ReplaceAll(squeezed, out, "OUT")
	}
	status, said := simulate()
	assert.Zero(t, status)
	assert.Equal(t, "version release can update can fall back to it why not "+
		"1.0.0 OUT/alpha/1.0.0 yes yes 2.0.0 OUT/alpha/2.0.0 yes yes\n", said)
	status, said = simulate("--retire", oldImage)
	assert.Equal(t, 1, status)
	assert.Equal(t, "version release can update can fall back to it why not "+
		"1.0.0 OUT/alpha/1.0.0 no no slots: trusts "+oldImage+", signed by "+newImage+" 2.0.0 OUT/alpha/2.0.0 yes yes\n"+
		"slipway: 1 of 2 releases could not update\n"+
		"hint: let an older key sign too, or bring these machines to a version in between first\n", said)
	assert.Equal(t, l, listKeys(t, set), "a simulation changes nothing")

	// The old release is signed by the new keys too, without a rebuild.
	newer := []string{"verify", first, "--pub", exported(t, set, newImage), "--pub", exported(t, set, newPayload)}
	status, _, _ = run(t, newer...)
	assert.Equal(t, 1, status)
	status, _, stderr = run(t, "sign", first, "--key", filepath.Join(set, newImage+".key"))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "release.json: is signed by "+oldPayload+", which has to sign it anew\n")
	status, _, stderr = run(t, "sign", first, "--keys", set)
	require.Zero(t, status, stderr)
	status, _, stderr = run(t, newer...)
	assert.Zero(t, status, stderr)
	current, err := os.Readlink(filepath.Join(out, "alpha", "current"))
	require.NoError(t, err)
	assert.Equal(t, "2.0.0", current, "signing publishes nothing new")

	// Signatures by a key of another kind of build are refused.
	writeKey(t, filepath.Join(out, "release.pem"))
	for _, target := range []string{first, filepath.Join(first, release.Manifest), filepath.Join(first, release.Slot)} {
		status, _, stderr = run(t, "sign", target, "--key", filepath.Join(out, "release.pem"))
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, ": a development image: no release key signs it\n")
	}
	undo := flipByte(t, filepath.Join(second, release.Slot), 1<<20)
	status, _, stderr = run(t, "sign", filepath.Join(second, release.Slot), "--keys", set)
	assert.Equal(t, 1, status, "what is not what was signed gets no signature")
	assert.Contains(t, stderr, "slipway: "+filepath.Join(second, release.Slot)+": slot of slipway 2.0.0: ")
	undo()
	status, _, stderr = run(t, "sign", filepath.Join(second, release.Disk), "--keys", set)
	assert.Zero(t, status, stderr)
	assert.Contains(t, stderr, "has the digests of before")
}

// aged gives a key set whose image and payload keys are not valid.
func aged(t *testing.T) string {
	t.Helper()
	set := filepath.Join(t.TempDir(), "set")
	for _, args := range [][]string{{"--role", "root"}, {"--role", "image", "--role", "payload", "--starts", "2000-01-01", "--valid-for", "90d"}} {
		status, _, stderr := run(t, append([]string{"keys", "new", "--keys", set, "--development"}, args...)...)
		require.Zero(t, status, stderr)
	}
	return set
}

// TestExpiredKeysCount for nothing, neither to sign nor to verify.
func TestExpiredKeysCount(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	set, out := aged(t), filepath.Join(t.TempDir(), "out")
	id := listKeys(t, set).id(t, keyset.Image)
	expired := "key " + id + ": expired at 2000-03-31T00:00:00Z"
	status, _, stderr := run(t, "build", "--keys", set, "--out", out)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: "+expired+"\n")

	// Signed as if there were no set.
	made := built(t, "--key", filepath.Join(set, id+".key"), "--payload", "none", "--out", out)
	status, _, stderr = run(t, "verify", made, "--pub", set)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: release.json.sig: not signed by an accepted key: signed by "+id+"; accepted: none: "+expired+"\n")
	status, _, stderr = run(t, "verify", made, "--pub", exported(t, set, id))
	assert.Zero(t, status, stderr)
}

// TestBuildInTwoPhases signs a build elsewhere and gets what a key at hand
// would have made, to the byte.
func TestBuildInTwoPhases(t *testing.T) {
	if testing.Short() {
		t.Skip("builds images")
	}
	dir := t.TempDir()
	set := filepath.Join(dir, "set")
	status, _, stderr := run(t, "keys", "new", "--keys", set, "--development", "--algorithm", "rsa-2048",
		"--role", "root", "--role", "image", "--role", "payload")
	require.Zero(t, status, stderr)
	id := listKeys(t, set).id(t, keyset.Image)
	key := filepath.Join(set, id+".key")
	want := built(t, "--key", key, "--payload", "development", "--out", filepath.Join(dir, "direct"))

	out, digests := filepath.Join(dir, "out"), filepath.Join(dir, "digests")
	args := []string{
		"build", "--key", "public:" + exported(t, set, id), "--payload", "development", "--out", out,
		"--digests-out", digests, "--signatures-in", digests,
	}
	var made string
	for rounds := 0; ; rounds++ {
		require.Less(t, rounds, 6, "it does not come to an end")
		status, stdout, stderr := run(t, args...)
		if status == 0 {
			made = strings.TrimSpace(stdout)
			break
		}
		require.Regexp(t, `(1 digest|2 digests) to sign in `+digests, stderr)
		left, err := filepath.Glob(filepath.Join(out, "alpha", "*"))
		require.NoError(t, err)
		require.Empty(t, left, "half a release")
		status, _, stderr = run(t, "sign", digests, "--key", key)
		require.Zero(t, status, stderr)
	}
	for _, name := range []string{release.Slot, release.UKI, release.Payload, release.Manifest, release.Signatures} {
		a, err := os.ReadFile(filepath.Join(want, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(made, name))
		require.NoError(t, err)
		assert.True(t, string(a) == string(b), "%s differs", name)
	}
}

// TestReleaseBuildHoldsNoSecrets plants what must not get out.
func TestReleaseBuildHoldsNoSecrets(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	dir := t.TempDir()
	key, overlay := filepath.Join(dir, "key.pem"), filepath.Join(dir, "secret")
	writeKey(t, key)
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	yaml := "description: what somebody forgot\nfiles:\n" +
		"  usr/lib/systemd/random-seed: {content: hidden}\n" +
		"  etc/tls/server.pem: {content: " + quoteYAML(string(text)) + "}\n"
	require.NoError(t, os.Mkdir(overlay, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(overlay, "overlay.yaml"), []byte(yaml), 0o644))
	status, _, stderr := run(t, "build", "--key", key, "--overlay", overlay, "--out", filepath.Join(dir, "out"))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: /usr/lib/systemd/random-seed: a random seed, which every machine makes for itself; "+
		"/usr/share/slipway/etc/tls/server.pem: a private key (PRIVATE KEY)\nhint: mend the overlay")
	assert.NoDirExists(t, filepath.Join(dir, "out", "alpha"))
}

func quoteYAML(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }
