package signing_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
)

// What is signed in two steps is what is signed in one, to the byte.
func TestTwoPhasesGiveTheSameFooter(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048"} {
		t.Run(kind, func(t *testing.T) {
			private, err := signing.Generate(kind)
			require.NoError(t, err)
			name := write(t, pkcs8(t, private))
			direct, err := signing.Open(t.Context(), name, &signing.Options{})
			require.NoError(t, err)
			public, err := signing.PublicPEM(direct)
			require.NoError(t, err)
			want, err := footer.Encode(t.Context(), 1<<20, sample(), direct)
			require.NoError(t, err)

			outside := &signing.Outside{Out: filepath.Join(t.TempDir(), "new", "out"), In: t.TempDir()}
			away, err := signing.Open(t.Context(), "public:"+write(t, public), &signing.Options{Outside: outside})
			require.NoError(t, err)
			ctx := signing.About(t.Context(), "slot footer of slipway 1.0.0")
			for range 2 { // asking twice hands out once
				_, err = footer.Encode(ctx, 1<<20, sample(), away)
				require.ErrorIs(t, err, signing.ErrPending)
				assert.True(t, signing.OnlyPending(err))
			}
			require.Len(t, outside.Pending(), 1)
			assert.Equal(t, "slot footer of slipway 1.0.0", outside.Pending()[0].What)

			requests, err := signing.ReadRequests(outside.Out)
			require.NoError(t, err)
			require.Equal(t, outside.Pending(), requests)
			require.NoError(t, requests[0].Answer(t.Context(), outside.Out, direct))

			outside.In = outside.Out
			block, err := footer.Encode(ctx, 1<<20, sample(), away)
			require.NoError(t, err)
			assert.Equal(t, want, block)
		})
	}
}

func TestSignaturesFromOutsideAreVerified(t *testing.T) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	k, err := key.New(private.Public())
	require.NoError(t, err)
	dir := t.TempDir()
	s, err := signing.Open(t.Context(), "public:"+write(t, k.PEM()), &signing.Options{Outside: &signing.Outside{In: dir}})
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("this"))
	name := filepath.Join(dir, k.ID+"-"+hex.EncodeToString(digest[:])+".sig")

	_, err = s.SignDigest(t.Context(), digest)
	assert.EqualError(t, err, filepath.Base(name)+": not in "+dir+": this key is not here, and there is nowhere to put digests")

	for _, c := range []struct {
		what      string
		signature []byte
	}{
		{"another digest", ed25519.Sign(private, []byte("another"))},
		{"another key", ed25519.Sign(ed25519.NewKeyFromSeed([]byte("another key of thirty two bytes!")), digest[:])},
		{"nothing", nil},
	} {
		require.NoError(t, os.WriteFile(name, c.signature, 0o644))
		_, err = s.SignDigest(t.Context(), digest)
		assert.EqualError(t, err, name+": not a signature over this digest by key "+k.ID, c.what)
	}
	require.NoError(t, os.WriteFile(name, make([]byte, 70000), 0o644))
	_, err = s.SignDigest(t.Context(), digest)
	assert.EqualError(t, err, "not a file of at most 65536 bytes")
}

func TestReadRequestsRefuses(t *testing.T) {
	const id = "00ff00ff00ff00ff"
	digest := sha256.Sum256(nil)
	sum := hex.EncodeToString(digest[:])
	name := id + "-" + sum
	line := func(id, sum, file, what string) string {
		return fmt.Sprintf(`{"key_id":%q,"digest":%q,"file":%q,"signature":%q,"what":%q}`, id, sum, file, name+".sig", what)
	}
	good := line(id, sum, name+".digest", "release.json of slipway 1.0.0")
	for _, c := range []struct {
		what, index string
		data        []byte
		want        string
	}{
		{"a file elsewhere", line(id, sum, "../x", ""), digest[:], `digests.jsonl: line 1: file "../x" does not belong to digest ` + sum},
		{"a path for a key", good + "\n" + line("../../../../../x", sum, "", ""), digest[:], `digests.jsonl: line 2: key "../../../../../x": not an id`},
		{"a short digest", line(id, "00", "", ""), digest[:], `digests.jsonl: line 1: digest "00": not a SHA-256 in hex`},
		{"escape sequences", strings.Replace(good, "release", `\u001b[2J`, 1), digest[:], `digests.jsonl: line 1: "\x1b[2J.json of slipway 1.0.0" are no words`},
		{"another digest", good, []byte("x"), name + ".digest: not the digest its name says"},
		{"no digest", good, nil, name + ".digest: not the digest its name says"},
		{"no JSON", "x", digest[:], "digests.jsonl: line 1: invalid character 'x' looking for beginning of value"},
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, signing.Index), []byte(c.index+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".digest"), c.data, 0o644))
		_, err := signing.ReadRequests(dir)
		assert.EqualError(t, err, dir+"/"+c.want, c.what)
	}
}

func FuzzParseRequests(f *testing.F) {
	f.Add([]byte(`{"key_id":"00ff00ff00ff00ff","digest":"","file":"x","what":"y"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := signing.ParseRequests(text)
		if err != nil {
			return
		}
		for _, r := range list {
			assert.True(t, filepath.IsLocal(r.File) && filepath.Base(r.File) == r.File)
			assert.True(t, filepath.Base(r.Signature) == r.Signature)
		}
	})
}

func TestOnlyPending(t *testing.T) {
	pending := fmt.Errorf("footer: %w", signing.ErrPending)
	other := errors.New("disk full")
	assert.True(t, signing.OnlyPending(pending))
	assert.True(t, signing.OnlyPending(fmt.Errorf("build: %w", errors.Join(pending, pending))))
	assert.False(t, signing.OnlyPending(errors.Join(pending, other)))
	assert.False(t, signing.OnlyPending(fmt.Errorf("%w, %w", pending, other)))
	assert.False(t, signing.OnlyPending(other))
	assert.False(t, signing.OnlyPending(nil))
}

// What EncodePrivate writes, Open reads, and nobody without the password.
func TestPrivateKeysAreEncrypted(t *testing.T) {
	for _, kind := range []string{"ecdsa-p384"} { // one: deriving keys from passwords is slow
		private, err := signing.Generate(kind)
		require.NoError(t, err)
		assert.Equal(t, kind, signing.KindOf(private.Public()))
		text, err := signing.EncodePrivate(private, []byte("open"), false)
		require.NoError(t, err)
		name := write(t, text)
		s, err := signing.Open(t.Context(), name, &signing.Options{Passwords: passwords("open")})
		require.NoError(t, err)
		assert.True(t, private.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Public()))
		assert.False(t, s.Development())
		_, err = signing.Open(t.Context(), name, &signing.Options{Passwords: passwords("shut")})
		require.ErrorIs(t, err, signing.ErrWrongPassword)
		_, err = signing.Open(t.Context(), name, &signing.Options{})
		require.ErrorIs(t, err, signing.ErrNoPassword)

		cosign, err := signing.ExportCosign(text, []byte("open"))
		require.NoError(t, err)
		_, err = signing.Open(t.Context(), write(t, cosign), &signing.Options{Passwords: passwords("open")})
		require.NoError(t, err)
	}
	_, err := signing.EncodePrivate(ed25519.NewKeyFromSeed(make([]byte, 32)), nil, false)
	assert.EqualError(t, err, "private key: no password to encrypt it with")
	_, err = signing.Generate("dsa")
	assert.EqualError(t, err, `kind of key "dsa": want one of ed25519, ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096`)
}
