package signing_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing"
	"slipway/signing/key"
)

// TestMain makes the test's own binary the program of exec: references.
func TestMain(m *testing.M) {
	if how := os.Getenv("SLIPWAY_TEST_PROGRAM"); how != "" {
		os.Exit(playProgram(how))
	}
	os.Exit(m.Run())
}

// playProgram signs the way the test wants it.
func playProgram(how string) int {
	digest, err := io.ReadAll(os.Stdin)
	if err != nil || len(digest) != 32 {
		fmt.Fprintf(os.Stderr, "%d bytes of digest\n", len(digest))
		return 9
	}
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	switch how {
	case "sign":
		k, _ := key.New(private.Public())
		if os.Getenv("SLIPWAY_KEY_ID") != k.ID || os.Getenv("SLIPWAY_ALGORITHM") != "ed25519" || os.Args[1] != "a b&c" {
			return 8
		}
		os.Stdout.Write(ed25519.Sign(private, digest))
	case "refuse":
		fmt.Fprint(os.Stderr, "token is locked,\n\n  try again tomorrow\n")
		return 3
	case "lie":
		os.Stdout.Write(ed25519.Sign(private, []byte("something else")))
	case "newline":
		fmt.Printf("%s\n", ed25519.Sign(private, digest))
	case "babble":
		fmt.Print(strings.Repeat("x", 1<<20))
	case "shout":
		fmt.Fprint(os.Stderr, strings.Repeat("no ", 1<<20))
		return 1
	case "sleep":
		time.Sleep(time.Minute)
	}
	return 0
}

// publicFile writes the public half of the key that is all zeros.
func publicFile(t *testing.T) (name string, k key.Key) {
	t.Helper()
	k, err := key.New(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	require.NoError(t, err)
	return write(t, k.PEM()), k
}

func TestProgramSigns(t *testing.T) {
	name, k := publicFile(t)
	program, err := os.Executable()
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("what was built"))
	open := func(t *testing.T, how, query string) signing.Signer {
		t.Setenv("SLIPWAY_TEST_PROGRAM", how)
		s, err := signing.Open(t.Context(), "exec:"+program+"?pub="+url.QueryEscape(name)+query, &signing.Options{})
		require.NoError(t, err)
		assert.Equal(t, k.ID, s.KeyID())
		return s
	}
	t.Run("sign", func(t *testing.T) {
		signature, err := open(t, "sign", "&arg=a%20b%26c").SignDigest(t.Context(), digest)
		require.NoError(t, err)
		assert.Equal(t, ed25519.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), digest[:]), signature)
	})
	for _, c := range []struct{ how, query, want string }{
		{"refuse", "", "program " + program + ": exit status 3: token is locked, try again tomorrow"},
		{"lie", "", "signature of 64 bytes is not over this digest by key " + k.ID},
		{"newline", "", "signature of 65 bytes is not over this digest by key " + k.ID + ", which makes 64"},
		{"nothing", "", "signature of 0 bytes is not over this digest by key " + k.ID + ", which makes 64"},
		{"babble", "", "program " + program + ": more than 4096 bytes of signature"},
		{"shout", "", "program " + program + ": exit status 1: " + strings.Repeat("no ", 100) + "..."},
		{"sleep", "&timeout=100ms", "program " + program + ": no answer within 100ms"},
	} {
		t.Run(c.how, func(t *testing.T) {
			_, err := open(t, c.how, c.query).SignDigest(t.Context(), digest)
			assert.EqualError(t, err, c.want)
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := open(t, "sleep", "").SignDigest(ctx, digest)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestOpenRefusesReferences(t *testing.T) {
	name, _ := publicFile(t)
	for _, c := range []struct{ ref, want string }{
		{"", "empty reference"},
		{"none.pem", "no such file or directory"},
		{"exec:", "no program; want exec:PROGRAM?pub=FILE"},
		{"exec:/bin/sh", "no public key; want exec:PROGRAM?pub=FILE"},
		{"exec:/bin/sh?pub=none.pem", "none.pem: no such file or directory"},
		{"exec:/nowhere/x?pub=" + name, `exec: "/nowhere/x": stat /nowhere/x: no such file or directory`},
		{"exec:/bin/sh?pub=a&pub=b", `option "pub" is given twice`},
		{"exec:/bin/sh?pub=a&slot=2", `option "slot" is not known; want pub, arg, timeout`},
		{"exec:/bin/sh?pub=a&timeout=soon", `time-out "soon" is not a time such as 90s`},
		{"public:none.pem", "no such file or directory"},
		{"public:" + name, "this key is not here, and there is nowhere to put digests"},
		{"nosuchkms://key", "no program sigstore-kms-nosuchkms in $PATH"},
	} {
		_, err := signing.Open(t.Context(), c.ref, &signing.Options{Outside: &signing.Outside{}})
		assert.EqualError(t, err, fmt.Sprintf("key %q: %s", c.ref, c.want))
	}
}

func TestRebase(t *testing.T) {
	for _, c := range []struct{ ref, want string }{
		{"a.pem", "/here/a.pem"},
		{"/keys/sub/a.pem", "sub/a.pem"},
		{"../keys/a.pem", "a.pem"},
		{"public:a.pem", "public:/here/a.pem"},
		{"exec:sign?pub=a.pem", "exec:sign?pub=%2Fhere%2Fa.pem"},
		{"exec:./sign?arg=x&pub=/keys/a.pem", "exec:/here/sign?arg=x&pub=a.pem"},
		{"exec:../keys/sign?pub=a.pem", "exec:./sign?pub=%2Fhere%2Fa.pem"},
		{"vault://a", "vault://a"},
	} {
		assert.Equal(t, c.want, signing.Rebase(c.ref, "/here", "/keys"), c.ref)
	}
}
