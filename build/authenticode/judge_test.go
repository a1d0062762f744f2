package authenticode_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
	"slipway/build/tools/toolstest"
	"slipway/build/uki"
)

// say runs a foreign program and returns what it says.
func say(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	output, err := toolstest.Command(t, program, args...).CombinedOutput()
	return string(output), err
}

// image makes a UKI of Debian's stub.
func image(t *testing.T) []byte {
	stub, err := os.ReadFile(toolstest.Path(t, "build", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
	require.NoError(t, err)
	content := func(s string) *io.SectionReader {
		return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
	}
	var b bytes.Buffer
	require.NoError(t, uki.Write(&b, &uki.Options{
		Stub: stub, OSRelease: "ID=test\n", CommandLine: "quiet", Uname: "6.12",
		Linux: content(strings.Repeat("K", 10000)), Initrd: content(strings.Repeat("I", 5000)),
	}))
	return b.Bytes()
}

// TestForeignToolsVerify has other programs look at our signatures, good and
// tampered with.
func TestForeignToolsVerify(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs foreign programs")
	}
	unsigned := image(t)
	parsed, err := uki.Read(bytes.NewReader(unsigned), int64(len(unsigned)))
	require.NoError(t, err)
	_, err = parsed.Section(".sbat") // the stub's own, which shim asks for
	require.NoError(t, err)
	ids := identities(t)
	other := ids["RSA-4096"]
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, data, 0o600))
				return path
			}
			cert := file("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Certificate.Raw}))
			stranger := file("other.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: otherThan(ids, name)}))
			signed := sign(t, unsigned, false, id)
			good := file("good.efi", signed)
			bad := bytes.Clone(signed)
			bad[len(unsigned)-1000] ^= 1
			tampered := file("bad.efi", bad)

			said, err := say(t, "sbverify", "--cert", cert, good)
			require.NoError(t, err, said)
			assert.Contains(t, said, "Signature verification OK")
			assert.NotContains(t, said, "warning")
			for _, args := range [][]string{{"--cert", stranger, good}, {"--cert", cert, tampered}} {
				said, err = say(t, "sbverify", args...)
				assert.Error(t, err, said)
			}

			said, err = say(t, "osslsigncode", "verify", "-CAfile", cert, "-in", good)
			require.NoError(t, err, said)
			assert.Contains(t, said, "Succeeded")
			assert.NotContains(t, strings.ToLower(said), "mismatch")
			for _, args := range [][]string{{"-CAfile", stranger, "-in", good}, {"-CAfile", cert, "-in", tampered}} {
				said, err = say(t, "osslsigncode", append([]string{"verify"}, args...)...)
				assert.Error(t, err, said)
			}

			// As firmware does: OpenSSL's PKCS #7 is handed the content, for it
			// does not know Microsoft's.
			der := read(t, signed).Signatures[0].DER
			content, err := authenticode.Content(der)
			require.NoError(t, err)
			args := []string{
				"smime", "-verify", "-binary", "-purpose", "any", "-CAfile", cert, "-out", os.DevNull,
				"-inform", "DER", "-in", file("signature.der", der), "-content",
			}
			said, err = say(t, "openssl", append(args, file("content", content))...)
			require.NoError(t, err, said)
			assert.Contains(t, said, "Verification successful")
			said, err = say(t, "openssl", append(args, file("content", append(content, 0)))...)
			assert.Error(t, err, said)
		})
	}

	// Two signatures in one file.
	both := sign(t, unsigned, false, ids["ECDSA P-256"], other)
	path := filepath.Join(t.TempDir(), "both.efi")
	require.NoError(t, os.WriteFile(path, both, 0o600))
	said, err := say(t, "sbverify", "--list", path)
	require.NoError(t, err, said)
	assert.Contains(t, said, "signature 2")
	assert.Contains(t, said, "/CN=test rsa4096")
}

func otherThan(ids map[string]authenticode.Identity, name string) []byte {
	for n, id := range ids {
		if n != name {
			return id.Certificate.Raw
		}
	}
	return nil
}

// TestReadsForeignSignatures reads what sbsign and osslsigncode wrote.
func TestReadsForeignSignatures(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs foreign programs")
	}
	dir := t.TempDir()
	id := identities(t)["RSA-2048"]
	cert, plain := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "plain.efi")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Certificate.Raw})
	require.NoError(t, os.WriteFile(cert, text, 0o600))
	require.NoError(t, os.WriteFile(plain, image(t), 0o600))
	key := "testdata/rsa2048-test.pem"
	for program, args := range map[string][]string{
		"sbsign":       {"--key", key, "--cert", cert, "--output", "OUT", plain},
		"osslsigncode": {"sign", "-h", "sha256", "-key", key, "-certs", cert, "-in", plain, "-out", "OUT"},
	} {
		out := filepath.Join(dir, program+".efi")
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "OUT", out)
		}
		said, err := say(t, program, args...)
		require.NoError(t, err, said)
		signed, err := os.ReadFile(out)
		require.NoError(t, err)
		_, err = read(t, signed).Verify(id.Certificate)
		assert.NoError(t, err, program)
		// Our signature in its place is of the same file.
		assert.Equal(t, sign(t, image(t), false, id), sign(t, signed, false, id), program)
	}
}
