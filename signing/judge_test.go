package signing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
)

// digestOf is what the signatures of a footer are made over, worked out from
// the description in package footer.
func digestOf(block []byte) [32]byte {
	body := uint32(block[12]) | uint32(block[13])<<8
	return sha256.Sum256(append([]byte("slipway slot footer v1\n"+string(block[:16])), block[24:24+body]...))
}

// openssl verifies what is signed by every kind of key that "openssl genpkey"
// and Generate make.
func TestOpenSSLVerifiesFooters(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs openssl")
	}
	for _, kind := range signing.Kinds() {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			private, err := signing.Generate(kind)
			require.NoError(t, err)
			text, err := signing.EncodePrivate(private, []byte("open"), false)
			require.NoError(t, err)
			name := filepath.Join(dir, "key.pem")
			require.NoError(t, os.WriteFile(name, text, 0o600))

			// openssl reads the encrypted key and gives its public half.
			out, err := toolstest.Command(t, "openssl", "pkey", "-in", name, "-passin", "pass:open", "-pubout").Output()
			require.NoError(t, err)
			k, err := key.Parse(out)
			require.NoError(t, err)
			s, err := signing.Open(t.Context(), name, &signing.Options{Passwords: passwords("open")})
			require.NoError(t, err)
			require.Equal(t, k.ID, s.KeyID())

			block, err := footer.Encode(t.Context(), 1<<20, sample(), s)
			require.NoError(t, err)
			slot := bytes.NewReader(append(make([]byte, 1<<20-footer.Size), block...))
			_, signatures, err := footer.Inspect(slot, 1<<20)
			require.NoError(t, err)
			digest := digestOf(block)
			files := map[string][]byte{"pub.pem": out, "digest": digest[:], "sig": signatures[0].Signature}
			for name, data := range files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
			}
			args := []string{"pkeyutl", "-verify", "-pubin", "-inkey", filepath.Join(dir, "pub.pem"),
				"-in", filepath.Join(dir, "digest"), "-sigfile", filepath.Join(dir, "sig")}
			if kind == "ed25519" {
				args = append(args, "-rawin")
			} else {
				args = append(args, "-pkeyopt", "digest:sha256")
			}
			said, err := toolstest.Command(t, "openssl", args...).CombinedOutput()
			require.NoError(t, err, "%s", said)
			assert.Contains(t, string(said), "Signature Verified Successfully")
		})
	}
}

// A signature openssl makes of a digest that was handed out is taken.
func TestOpenSSLSignsElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs openssl")
	}
	for kind, options := range map[string][]string{
		"rsa-2048": {"-pkeyopt", "digest:sha256"}, "ecdsa-p384": {"-pkeyopt", "digest:sha256"}, "ed25519": {"-rawin"},
	} {
		t.Run(kind, func(t *testing.T) {
			private, err := signing.Generate(kind)
			require.NoError(t, err)
			k, err := key.New(private.Public())
			require.NoError(t, err)
			dir := t.TempDir()
			outside := &signing.Outside{Out: dir, In: dir}
			s, err := signing.Open(t.Context(), "public:"+write(t, k.PEM()), &signing.Options{Outside: outside})
			require.NoError(t, err)
			digest := sha256.Sum256([]byte("this"))
			_, err = s.SignDigest(t.Context(), digest)
			require.ErrorIs(t, err, signing.ErrPending)
			r := outside.Pending()[0]
			args := append([]string{"pkeyutl", "-sign", "-inkey", write(t, pkcs8(t, private)),
				"-in", filepath.Join(dir, r.File), "-out", filepath.Join(dir, r.Signature)}, options...)
			said, err := toolstest.Command(t, "openssl", args...).CombinedOutput()
			require.NoError(t, err, "%s", said)
			_, err = s.SignDigest(t.Context(), digest)
			assert.NoError(t, err)
		})
	}
}

// Keys behind a plugin of sigstore, built for the test.
func TestKMSPlugin(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles a program")
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./testdata/sigstore-kms-slipwaytest")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	private, err := signing.Generate("rsa-2048")
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("this"))
	for _, ref := range []string{"ed25519", "p256", "p384", "file" + write(t, pkcs8(t, private))} {
		s, err := signing.Open(t.Context(), "slipwaytest://"+ref, &signing.Options{})
		require.NoError(t, err, ref)
		signature, err := s.SignDigest(t.Context(), digest)
		require.NoError(t, err, ref)
		if ref == "ed25519" {
			assert.Equal(t, ed25519.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), digest[:]), signature)
		}
		block, err := footer.Encode(t.Context(), 1<<20, sample(), s)
		require.NoError(t, err, ref)
		k, err := key.New(s.Public())
		require.NoError(t, err)
		slot := bytes.NewReader(append(make([]byte, 1<<20-footer.Size), block...))
		_, err = footer.Read(slot, 1<<20, []key.Key{k})
		assert.NoError(t, err, ref)
	}
	_, err = signing.Open(t.Context(), "slipwaytest://lost", &signing.Options{})
	assert.EqualError(t, err, `key "slipwaytest://lost": sigstore-kms-slipwaytest: public key: plugin returned error: no key lost in this service`)

	s, err := signing.Open(t.Context(), "slipwaytest://slow", &signing.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.SignDigest(ctx, digest)
	assert.ErrorIs(t, err, context.Canceled)
}

// A token is a program that keeps its keys to itself: SoftHSM, asked through
// PKCS#11 by the script that users may take for theirs.
func TestPKCS11Token(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a token")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	require.NoError(t, os.WriteFile(config, []byte("directories.tokendir = "+dir+"/tokens\n"), 0o600))
	tool := func(program string, args ...string) []byte {
		cmd := toolstest.Command(t, program, args...)
		cmd.Env = append(cmd.Env, "SOFTHSM2_CONF="+config)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s %s: %s%s", program, strings.Join(args, " "), out, stderr.String())
		return out
	}
	module := toolstest.Path(t, "judge", "usr/lib/softhsm/libsofthsm2.so")
	tool("softhsm2-util", "--module", module, "--init-token", "--free", "--label", "slipway", "--pin", "1234", "--so-pin", "5678")

	// The script calls pkcs11-tool as a user would; here it is the tools tree's.
	cmd := toolstest.Command(t, "pkcs11-tool")
	wrapper := "#!/bin/sh\nexec env -i SOFTHSM2_CONF=" + config + ` PKCS11_PIN="$PKCS11_PIN"`
	for _, word := range append(cmd.Env, cmd.Args...) {
		wrapper += " '" + word + "'"
	}
	wrapped := filepath.Join(dir, "pkcs11-tool")
	require.NoError(t, os.WriteFile(wrapped, []byte(wrapper+" \"$@\"\n"), 0o755))
	t.Setenv("PKCS11_TOOL", wrapped)
	t.Setenv("PKCS11_PIN", "1234")

	digest := sha256.Sum256([]byte("this"))
	for i, kind := range []string{"rsa:2048", "EC:prime256v1", "EC:secp384r1"} {
		t.Run(kind, func(t *testing.T) {
			id := fmt.Sprintf("%02x", i+1)
			tool("pkcs11-tool", "--module", module, "--login", "--pin", "1234", "--keypairgen", "--key-type", kind, "--id", id)
			der := filepath.Join(dir, id+".der")
			tool("pkcs11-tool", "--module", module, "--read-object", "--type", "pubkey", "--id", id, "--output-file", der)
			public := filepath.Join(dir, id+".pem")
			tool("openssl", "pkey", "-pubin", "-inform", "DER", "-in", der, "-pubout", "-out", public)

			script, err := filepath.Abs("testdata/pkcs11.sh")
			require.NoError(t, err)
			ref := "exec:" + script + "?" + url.Values{"pub": {public}, "arg": {module, id}}.Encode()
			s, err := signing.Open(t.Context(), ref, &signing.Options{})
			require.NoError(t, err)
			signature, err := s.SignDigest(t.Context(), digest)
			require.NoError(t, err)
			t.Logf("%s signs %s: %s...", s.KeyID(), s.Algorithm(), hex.EncodeToString(signature[:8]))
			_, err = footer.Encode(t.Context(), 1<<20, sample(), s)
			require.NoError(t, err)

			t.Setenv("PKCS11_PIN", "4321")
			_, err = s.SignDigest(t.Context(), digest)
			require.Error(t, err)
			assert.Contains(t, err.Error(), "program "+script+": exit status 1: ")
			assert.Contains(t, err.Error(), "CKR_PIN_INCORRECT")
		})
	}
}
