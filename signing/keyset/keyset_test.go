package keyset_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/key"
	"slipway/signing/keyset"
)

func private(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(t testing.TB, b byte) key.Key {
	t.Helper()
	k, err := key.New(private(b).Public())
	require.NoError(t, err)
	return k
}

func date(text string) *time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return &at
}

// sample has a root key 1, image keys 2 and 3 (the successor, from 2027 on) and
// payload keys 4 (until 2027) and 5 (retired).
func sample(t testing.TB) *keyset.Set {
	t.Helper()
	s := keyset.New()
	s.Version = 1
	s.Keys = []keyset.Entry{
		keyset.NewEntry(public(t, 1), keyset.Root),
		keyset.NewEntry(public(t, 2), keyset.Image),
		keyset.NewEntry(public(t, 3), keyset.Image),
		keyset.NewEntry(public(t, 4), keyset.Payload),
		keyset.NewEntry(public(t, 5), keyset.Payload),
	}
	s.Keys[1].ReplacedBy = s.Keys[2].ID
	s.Keys[2].NotBefore = date("2027-01-01")
	s.Keys[3].NotAfter = date("2027-01-01")
	s.Keys[4].Retired = true
	return s
}

func sign(t testing.TB, f *keyset.File, by ...byte) {
	t.Helper()
	for _, b := range by {
		digest := f.Digest()
		require.NoError(t, f.Add(public(t, b), ed25519.Sign(private(b), digest[:])))
	}
}

// signed gives the text of a signed set.
func signed(t testing.TB, s *keyset.Set, by ...byte) []byte {
	t.Helper()
	f, err := keyset.NewFile(s)
	require.NoError(t, err)
	sign(t, f, by...)
	text, err := f.Encode()
	require.NoError(t, err)
	return text
}

func TestWhoSignsWhen(t *testing.T) {
	s := sample(t)
	ids := func(list []*keyset.Entry) (ids []string) {
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		return ids
	}
	trusted := func(r keyset.Role, at *time.Time) (ids []string) {
		for _, k := range s.Trusted(r, *at) {
			ids = append(ids, k.ID)
		}
		return ids
	}
	before, after := date("2026-12-31"), date("2027-01-01")
	k := func(b byte) string { return public(t, b).ID }
	assert.Equal(t, []string{k(2)}, ids(s.Active(keyset.Image, *before)))
	assert.Equal(t, []string{k(2), k(3)}, ids(s.Active(keyset.Image, *after)))
	assert.Equal(t, []string{k(4)}, ids(s.Active(keyset.Payload, *before)))
	assert.Empty(t, ids(s.Active(keyset.Payload, *after)))
	assert.Equal(t, []string{k(2), k(3)}, trusted(keyset.Image, before), "a successor is known before it signs")
	assert.Equal(t, []string{k(4)}, trusted(keyset.Payload, before))
	assert.Empty(t, trusted(keyset.Payload, after))

	assert.NoError(t, s.Keys[1].Check(*before))
	assert.EqualError(t, s.Keys[2].Check(*before), "key "+k(3)+": not valid before 2027-01-01T00:00:00Z")
	assert.EqualError(t, s.Keys[3].Check(*after), "key "+k(4)+": expired at 2027-01-01T00:00:00Z")
	assert.EqualError(t, s.Keys[4].Check(*before), "key "+k(5)+": retired")
}

func TestSignaturesSurviveReformatting(t *testing.T) {
	text := signed(t, sample(t), 1)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, text))
	for _, text := range [][]byte{text, compact.Bytes()} {
		f, err := keyset.Read(text)
		require.NoError(t, err)
		assert.Equal(t, sample(t), f.Set)
		assert.NoError(t, f.VerifySelf(*date("2026-01-01")))
		again, err := f.Encode()
		require.NoError(t, err)
		g, err := keyset.Read(again)
		require.NoError(t, err)
		assert.Equal(t, f.Digest(), g.Digest())
	}
	// So do fields a later version adds, and what JSON may write in two ways.
	odd := strings.Replace(string(text), `"version": 1,`, `"version": 1, "note": "<later>",`, 1)
	f, err := keyset.Read([]byte(odd))
	require.NoError(t, err)
	assert.Error(t, f.VerifySelf(*date("2026-01-01")), "they are signed too")
	sign(t, f, 1)
	again, err := f.Encode()
	require.NoError(t, err)
	assert.Contains(t, string(again), "<later>")
	g, err := keyset.Read(again)
	require.NoError(t, err)
	assert.NoError(t, g.VerifySelf(*date("2026-01-01")))
}

func TestReadErrors(t *testing.T) {
	good := string(signed(t, sample(t), 1))
	change := func(old, new string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, new, 1)
	}
	id := func(b byte) string { return public(t, b).ID }
	many := keyset.New()
	for b := range byte(65) {
		many.Keys = append(many.Keys, keyset.NewEntry(public(t, b), keyset.Root))
	}
	manyText, err := json.Marshal(map[string]any{"set": many})
	require.NoError(t, err)
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "key set: malformed: unexpected end of JSON input"},
		{"no set", `{"signatures": []}`, "key set: malformed: there is no set in it"},
		{"null", `{"set": null}`, "key set: format 0, want 1"},
		{"array", `{"set": []}`, "key set: malformed: json: cannot unmarshal array into Go value of type keyset.Set"},
		{"format", change(`"format": 1`, `"format": 2`), "key set: format 2, want 1"},
		{"id", change(`"id": "`+id(2), `"id": "00`+id(2)[2:]), fmt.Sprintf("key set: key \"00%s\": its public key is %s", id(2)[2:], id(2))},
		{"algorithm", change(`"ed25519"`, `"rsa"`), "key set: key " + id(1) + `: algorithm "rsa", the key is for "ed25519"`},
		{"public key", change("-----BEGIN PUBLIC KEY", "-----BEGIN PRIVATE KEY"), `key set: key "` + id(1) + `": public key: no PEM block`},
		{"role", change("\"roles\": [\n          \"root\"\n        ]", `"roles": []`), "key set: key " + id(1) + ": no role"},
		{"twice", change(strings.TrimSpace(entryText(t, good, 1)), strings.TrimSpace(entryText(t, good, 0))), "key set: key " + id(1) + ": listed twice"},
		{"never valid", change(`"not_before": "2027-01-01T00:00:00Z"`, `"not_before": "2027-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"`), "key set: key " + id(3) + ": expires before it becomes valid"},
		{"keys", string(manyText), "key set: 65 keys, want at most 64"},
		{"signatures", `{"set": {}, "signatures": [` + strings.Repeat("{},", 16) + `{}]}`, "key set: 17 signatures, want at most 16"},
		{"size", strings.Repeat(" ", 300<<10), "key set: 307200 bytes, want at most 262144"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := keyset.Read([]byte(c.text))
			assert.EqualError(t, err, c.want)
		})
	}
}

// entryText is the text of the n-th key in a file.
func entryText(t *testing.T, text string, n int) string {
	t.Helper()
	parts := strings.SplitAfter(text, "      }")
	require.Greater(t, len(parts), n)
	return strings.TrimLeft(parts[n][strings.LastIndex(parts[n], "      {"):], ",")
}

func TestVerify(t *testing.T) {
	now := *date("2026-01-01")
	k := func(b byte) string { return public(t, b).ID }
	read := func(text []byte) *keyset.File {
		f, err := keyset.Read(text)
		require.NoError(t, err)
		return f
	}
	good := signed(t, sample(t), 1)
	assert.NoError(t, read(good).VerifySelf(now))

	changed := bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 7`), 1)
	assert.EqualError(t, read(changed).VerifySelf(now), "key set: bad signature by "+k(1)+": the set was changed after it was signed")
	assert.EqualError(t, read(signed(t, sample(t), 2)).VerifySelf(now),
		fmt.Sprintf("key set: not signed by a root key: signed by %q; accepted: %s", k(2), k(1)))
	assert.EqualError(t, read(signed(t, sample(t))).VerifySelf(now), "key set: not signed by a root key: signed by nobody; accepted: "+k(1))

	expired := sample(t)
	expired.Keys[0].NotAfter = date("2025-01-01")
	assert.EqualError(t, read(signed(t, expired, 1)).VerifySelf(now), "key set: no root key is valid: key "+k(1)+": expired at 2025-01-01T00:00:00Z")
	rootless := sample(t)
	rootless.Keys = rootless.Keys[1:]
	assert.EqualError(t, read(signed(t, rootless)).VerifySelf(now), "key set: no root key")

	f := read(good)
	assert.EqualError(t, f.Add(public(t, 2), []byte("x")), "key set: signature is not over this set by key "+k(2))
	sign(t, f, 2, 1)
	assert.Len(t, f.Signatures, 2, "one signature a key")
}

// A new root key is trusted because the old one says so; one that says so
// itself is not.
func TestSuccessor(t *testing.T) {
	now := *date("2026-01-01")
	read := func(text []byte) *keyset.File {
		f, err := keyset.Read(text)
		require.NoError(t, err)
		return f
	}
	old := read(signed(t, sample(t), 1))
	next := sample(t)
	next.Version = 2
	next.Keys[0].Retired = true
	next.Keys = append(next.Keys, keyset.NewEntry(public(t, 9), keyset.Root))
	assert.NoError(t, old.VerifySuccessor(read(signed(t, next, 1, 9)), now))
	assert.ErrorContains(t, old.VerifySuccessor(read(signed(t, next, 9)), now), "key set: not signed by a root key")
	assert.NoError(t, read(signed(t, next, 9)).VerifySelf(now), "which it cannot know of itself")
	next.Version = 1
	assert.EqualError(t, old.VerifySuccessor(read(signed(t, next, 1)), now), "key set: version 1 does not follow 1")
}

func FuzzRead(f *testing.F) {
	f.Add(signed(f, sample(f), 1))
	f.Add([]byte(`{"set":{"format":1,"keys":[{"id":"x","not_after":"2027-01-01T00:00:00Z"}]}}`))
	f.Add([]byte(`{"set":{"format":1},"signatures":[{"key_id":"x","signature":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := keyset.Read(text)
		if err != nil {
			return
		}
		require.NoError(t, file.Set.Validate())
		now := time.Unix(1_800_000_000, 0)
		for _, r := range keyset.Roles() {
			_ = file.Set.Active(r, now)
			for _, k := range file.Set.Trusted(r, now) {
				assert.NotEmpty(t, k.PEM())
			}
		}
		again, err := file.Encode()
		require.NoError(t, err)
		same, err := keyset.Read(again)
		require.NoError(t, err)
		assert.Equal(t, file.Digest(), same.Digest())
		assert.Equal(t, file.VerifySelf(now) == nil, same.VerifySelf(now) == nil)
	})
}
