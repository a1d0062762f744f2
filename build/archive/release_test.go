package archive_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
)

func TestVerifyRelease(t *testing.T) {
	key, other := newKey(t, made.Add(-time.Hour), 0), newKey(t, made.Add(-time.Hour), 0)
	short := newKey(t, made.Add(-time.Hour), 2*time.Hour)
	revoked := newKey(t, made.Add(-time.Hour), 0)
	text := suiteText("trixie", "Valid-Until: "+now.Add(time.Hour).Format(time.RFC1123)+"\n", files{"a": []byte("a")})
	expired := suiteText("trixie", "Valid-Until: "+now.Add(-72*time.Hour).Format(time.RFC1123)+"\n", files{})
	signedByRevoked := sign(t, text, made, revoked)
	require.NoError(t, revoked.RevokeKey(packet.KeyCompromised, "", &packet.Config{Time: func() time.Time { return made }}))
	good := sign(t, text, made, key)

	for _, c := range []struct {
		name    string
		data    []byte
		suite   string // trixie if empty
		keys    []*openpgp.Entity
		now     time.Time
		past    bool
		err     error
		message string
	}{
		{name: "good", data: good, keys: []*openpgp.Entity{key}},
		{name: "good by suite name", data: good, suite: "stable", keys: []*openpgp.Entity{key}},
		{name: "good with another key in the ring", data: good, keys: []*openpgp.Entity{other, key}},
		{name: "one of two keys is known", data: sign(t, text, made, other, key), keys: []*openpgp.Entity{key}},
		{name: "one of two keys is still good", data: sign(t, text, made, short, key), keys: []*openpgp.Entity{short, key}},
		{
			name: "no signature", data: []byte(text), keys: []*openpgp.Entity{key}, err: archive.ErrUnsigned,
			message: "InRelease of trixie: not signed: it does not begin as a signed message",
		},
		{
			name: "cut short", data: good[:len(good)/2], keys: []*openpgp.Entity{key}, err: archive.ErrUnsigned,
			message: "InRelease of trixie: not signed: it does not hold a whole signed message",
		},
		{name: "empty", data: nil, keys: []*openpgp.Entity{key}, err: archive.ErrUnsigned},
		{
			name: "tampered", data: bytes.Replace(good, []byte("Origin: Test"), []byte("Origin: Evil"), 1),
			keys: []*openpgp.Entity{key}, err: archive.ErrTampered,
		},
		{
			name: "text behind the signature", data: append(bytes.Clone(good), "Suite: trixie\n"...),
			keys: []*openpgp.Entity{key}, err: archive.ErrTampered,
			message: "InRelease of trixie: signature does not match the content: 14 bytes follow the signature",
		},
		{
			name: "wrongly signed", data: good, keys: []*openpgp.Entity{other}, err: archive.ErrUnknownKey,
			message: fmt.Sprintf("InRelease of trixie: signed by no known key: key %016X", key.PrimaryKey.KeyId),
		},
		{name: "no keys", data: good, err: archive.ErrUnknownKey},
		{name: "key expired", data: sign(t, text, made, short), keys: []*openpgp.Entity{short}, err: archive.ErrKeyExpired},
		{name: "key expired since, mirror of the past", data: sign(t, text, made, short), keys: []*openpgp.Entity{short}, past: true},
		{name: "key revoked", data: signedByRevoked, keys: []*openpgp.Entity{revoked}, err: archive.ErrKeyRevoked},
		{name: "key revoked, mirror of the past", data: signedByRevoked, keys: []*openpgp.Entity{revoked}, past: true, err: archive.ErrKeyRevoked},
		{
			name: "expired", data: sign(t, expired, made, key), keys: []*openpgp.Entity{key}, err: archive.ErrExpired,
			message: "InRelease of trixie: expired: it was valid until 2026-03-07 12:00 UTC, 3 days ago",
		},
		{name: "expired, mirror of the past", data: sign(t, expired, made, key), keys: []*openpgp.Entity{key}, past: true},
		{
			name: "future", data: good, keys: []*openpgp.Entity{key}, now: made.Add(-11 * time.Minute), err: archive.ErrFuture,
			message: "InRelease of trixie: date lies in the future: it was made 2026-03-09 12:00 UTC, and now is 2026-03-09 11:49 UTC",
		},
		{
			name: "another suite", data: good, suite: "sid", keys: []*openpgp.Entity{key}, err: archive.ErrWrongSuite,
			message: `InRelease of sid: is of another suite: want "sid", got suite "stable" with code name "trixie"`,
		},
		{
			name: "no date", data: sign(t, "Suite: trixie\n", made, key), keys: []*openpgp.Entity{key}, err: archive.ErrBadContents,
			message: "InRelease of trixie: content is malformed: no Date",
		},
		{
			name: "bad date", data: sign(t, "Date: Mon, 2 Mar 2026 10:00:00 PST\n", made, key), keys: []*openpgp.Entity{key},
			err:     archive.ErrBadContents,
			message: `InRelease of trixie: content is malformed: line 1: Date: bad date "Mon, 2 Mar 2026 10:00:00 PST"`,
		},
		{
			name: "bad digest", data: sign(t, "Date: Mon, 2 Mar 2026 10:00:00 UTC\nSHA256:\n abc 1 a\n", made, key),
			keys: []*openpgp.Entity{key}, err: archive.ErrBadContents,
			message: `InRelease of trixie: content is malformed: line 3: sha256 "abc": want 64 hex digits, got 3 characters`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &archive.SuiteOptions{Suite: "trixie", Keys: keyRing(t, c.keys...), Now: now, AllowExpired: c.past}
			if c.suite != "" {
				o.Suite = c.suite
			}
			if !c.now.IsZero() {
				o.Now = c.now
			}
			r, err := archive.VerifyRelease(c.data, o)
			if c.err == nil {
				require.NoError(t, err)
				assert.Equal(t, made, r.Date)
				assert.NotEmpty(t, r.SignedBy)
				return
			}
			require.ErrorIs(t, err, c.err)
			require.Nil(t, r)
			if c.message != "" {
				assert.EqualError(t, err, c.message)
			}
			var typed *archive.ReleaseError
			require.ErrorAs(t, err, &typed)
			if c.err != archive.ErrWrongSuite {
				assert.NotEmpty(t, typed.Hint())
			}
		})
	}
}

func TestReleaseFields(t *testing.T) {
	key := newKey(t, made.Add(-time.Hour), 0)
	content := files{"main/a": []byte("a"), "main/b": []byte("bb")}
	data := sign(t, suiteText("trixie", "Acquire-By-Hash: yes\nVersion: 13.7\n- dash: escaped\n", content), made, key)
	r, err := archive.VerifyRelease(data, &archive.SuiteOptions{Suite: "trixie", Keys: keyRing(t, key), Now: now})
	require.NoError(t, err)
	assert.True(t, r.ByHash)
	assert.Equal(t, "13.7", r.Version)
	assert.Equal(t, []string{fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)}, r.SignedBy)
	require.Len(t, r.Files, 2, "files of other sections do not count")
	assert.EqualValues(t, 2, r.Files["main/b"].Size)
	assert.True(t, r.ValidUntil.IsZero())
}

func TestKeysRead(t *testing.T) {
	a, b := newKey(t, made, 0), newKey(t, made, 0)
	var binary bytes.Buffer
	require.NoError(t, a.Serialize(&binary))
	require.NoError(t, b.Serialize(&binary))
	for name, data := range map[string]string{"armored": armored(t, a, b), "binary": binary.String()} {
		keys := &archive.Keys{}
		require.NoError(t, keys.Read(name, strings.NewReader(data)), name)
		assert.Equal(t, []string{
			fmt.Sprintf("%X", a.PrimaryKey.Fingerprint), fmt.Sprintf("%X", b.PrimaryKey.Fingerprint),
		}, keys.Fingerprints(), name)
	}
	for name, data := range map[string]string{
		"empty": "", "text": "hello", "cut": armored(t, a)[:200], "binary cut": binary.String()[:40],
	} {
		err := (&archive.Keys{}).Read("overlays/base/keys/x.asc", strings.NewReader(data))
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "keys overlays/base/keys/x.asc: ", name)
	}
}

func FuzzVerifyRelease(f *testing.F) {
	key := newKey(f, made.Add(-time.Hour), 0)
	keys := keyRing(f, key)
	good := sign(f, suiteText("trixie", "", files{"a": []byte("a")}), made, key)
	f.Add(good)
	f.Add(good[:len(good)-100])
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n\n-----BEGIN PGP SIGNATURE-----\n\n=\n-----END PGP SIGNATURE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := archive.VerifyRelease(data, &archive.SuiteOptions{Suite: "trixie", Keys: keys, Now: now})
		if err == nil {
			require.Len(t, r.Files, 1, "only what was signed can be accepted")
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add(suiteText("trixie", "Valid-Until: Mon, 2 Mar 2026 10:00:00 UTC\n", files{"a": []byte("a")}))
	f.Add("SHA256:\n x\nDate")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := archive.ParseRelease(text); err == nil {
			require.False(t, r.Date.IsZero())
		}
	})
}
