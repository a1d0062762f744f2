package main_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/signing"
	"slipway/signing/footer"
)

// slotSize is the size of the slots of these tests, in bytes.
const slotSize = 4 << 20

// noise is content that does not compress.
func noise(n int, seed uint64) []byte {
	r, b := rand.New(rand.NewPCG(seed, 7)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// makeSlot writes a slot image with a few files.
func makeSlot(t *testing.T, name, version, key string, files map[string][]byte) {
	t.Helper()
	usr := tree.New()
	for p, content := range files {
		require.NoError(t, usr.Set(p, &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(content), Origin: "test"}))
	}
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	fsSize, err := erofs.Write(t.Context(), f, usr, &erofs.Options{Label: "USR"})
	require.NoError(t, err)
	hash, err := verity.Format(t.Context(), f, fsSize, f, fsSize, &verity.Options{Salt: []byte("salt")})
	require.NoError(t, err)
	require.NoError(t, f.Truncate(slotSize))
	signer, err := signing.Open(t.Context(), key, &signing.Options{})
	require.NoError(t, err)
	require.NoError(t, footer.Write(t.Context(), f, slotSize, &footer.Footer{
		Format: footer.Format, Name: "slipway", Version: version, Architecture: "amd64",
		FSType: "erofs", FSSize: fsSize, HashOffset: fsSize, HashSize: hash.HashSize, BlockSize: 4096,
		Salt: hex.EncodeToString([]byte("salt")), RootHash: hex.EncodeToString(hash.RootHash[:]),
		UKI:    footer.UKI{Path: "lib/slipway/boot.efi", SHA256: strings.Repeat("ab", 32), Size: 1},
		BootID: strings.Repeat("cd", 32),
	}, signer))
}

// twoSlots makes old.img and new.img, a key and its public half, in the
// working directory.
func twoSlots(t *testing.T) {
	t.Helper()
	newProject(t)
	writeKey(t, "key.pem")
	writePublicKey(t, "pub.pem", 0)
	writePublicKey(t, "other.pem", 1)
	program, library := noise(300_000, 1), bytes.Repeat([]byte("some text of a library "), 20_000)
	makeSlot(t, "old.img", "4891.0.0", "key.pem", map[string][]byte{
		"bin/program": program, "lib/library.so.1": library, "lib/gone": noise(9000, 3),
	})
	program = bytes.Clone(program)
	copy(program[100_000:], "changed")
	makeSlot(t, "new.img", "4892.0.0", "key.pem", map[string][]byte{
		"bin/program": program, "lib/library.so.1": library, "share/fresh": noise(20_000, 4),
	})
}

func TestPayloadFull(t *testing.T) {
	twoSlots(t)
	status, stdout, stderr := run(t, "payload", "create", "new.img", "--key", "key.pem", "--level", "development")
	require.Zero(t, status, stderr)
	assert.Equal(t, "update.payload\n", stdout)
	again, _, stderr := run(t, "payload", "create", "new.img", "--key", "key.pem", "--level", "development", "-o", "again.payload", "--jobs", "1")
	require.Zero(t, again, stderr)
	assert.Equal(t, digest(t, "update.payload"), digest(t, "again.payload"), "equal inputs, equal bytes")

	status, _, stderr = run(t, "payload", "verify", "update.payload", "--pub", "other.pem", "--pub", "pub.pem")
	assert.Zero(t, status, stderr)
	assert.Contains(t, stderr, "slipway 4892.0.0 amd64, signed by ")

	status, stdout, stderr = run(t, "payload", "apply", "update.payload", "--target", "out.img", "--pub", "pub.pem")
	require.Zero(t, status, stderr)
	assert.Equal(t, "out.img\n", stdout)
	assert.Equal(t, digest(t, "new.img"), digest(t, "out.img"))
	left, err := filepath.Glob(".*payload*")
	require.NoError(t, err)
	assert.Empty(t, left, "nothing is left aside")
}

// The release level packs with the pinned zstd.
func TestPayloadReleaseLevel(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs zstd")
	}
	toolstest.Tree(t, "payload")
	cache := toolstest.CacheDir(t)
	twoSlots(t)
	t.Setenv("SLIPWAY_CACHE", cache)
	for _, level := range []string{"release", "development"} {
		status, _, stderr := run(t, "payload", "create", "new.img", "--key", "key.pem", "--level", level, "-o", level)
		require.Zero(t, status, stderr)
		status, _, stderr = run(t, "payload", "apply", level, "--target", level+".img", "--pub", "pub.pem")
		require.Zero(t, status, stderr)
		assert.Equal(t, digest(t, "new.img"), digest(t, level+".img"))
	}
	assert.NotEqual(t, digest(t, "release"), digest(t, "development"))
}

func TestPayloadDelta(t *testing.T) {
	twoSlots(t)
	status, stdout, stderr := run(t, "payload", "create", "--from", "old.img", "new.img", "--key", "key.pem", "--level", "development")
	require.Zero(t, status, stderr)
	assert.Equal(t, "update-from-4891.0.0.payload\n", stdout)

	status, stdout, stderr = run(t, "payload", "inspect", "update-from-4891.0.0.payload", "--json", "--pub", "pub.pem", "--image", "new.img", "--source", "old.img")
	require.Zero(t, status, stderr)
	var doc struct {
		Size           int64
		Version        string
		SourceVersion  string `json:"source_version"`
		HashTreeLeft   bool   `json:"hash_tree_left_out"`
		Signatures     []struct{ Of, Verdict string }
		Operations     []struct{ Type string }
		Files          []struct{ Name string }
		PartitionBytes int64 `json:"partition_size"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &doc), stdout)
	assert.Equal(t, "4892.0.0", doc.Version)
	assert.Equal(t, "4891.0.0", doc.SourceVersion)
	assert.True(t, doc.HashTreeLeft)
	assert.Equal(t, int64(slotSize), doc.PartitionBytes)
	assert.Less(t, doc.Size, int64(60_000), "20 kB of new noise, a few blocks, signatures")
	for _, s := range doc.Signatures {
		assert.Equal(t, "good", s.Verdict, s.Of)
	}
	assert.Len(t, doc.Signatures, 2)
	require.NotEmpty(t, doc.Files)
	assert.Equal(t, "/usr/share/fresh", doc.Files[0].Name, "what costs most")

	p := "update-from-4891.0.0.payload"
	status, _, stderr = run(t, "payload", "apply", p, "--source", "old.img", "--target", "out.img", "--pub", "pub.pem")
	require.Zero(t, status, stderr)
	assert.Equal(t, digest(t, "new.img"), digest(t, "out.img"))

	for _, c := range []struct{ args, want string }{
		{"--target out.img", "slipway: payload apply: --source missing: a delta payload from version 4891.0.0\nhint: --source RELEASE of version 4891.0.0\n"},
		{"--source new.img --target x.img", "slipway: new.img: is version 4892.0.0, root hash "},
		{"--source old.img --target x.img --pub other.pem", "slipway: " + p + ": payload metadata: not signed by a known key: signed by "},
	} {
		status, _, stderr = run(t, append([]string{"payload", "apply", p}, strings.Fields(c.args)...)...)
		assert.NotZero(t, status)
		assert.Contains(t, stderr, c.want)
	}
	assert.NoFileExists(t, "x.img")
	assert.NoFileExists(t, "x.img.part")
}

func TestPayloadRefusals(t *testing.T) {
	twoSlots(t)
	require.NoError(t, os.WriteFile("text", []byte("hello, this is no payload at all, and no image either"), 0o644))
	status, _, stderr := run(t, "payload", "create", "new.img", "--key", "key.pem", "--level", "development", "-o", "p")
	require.Zero(t, status, stderr)
	require.NoError(t, os.Mkdir("empty", 0o755))
	damaged, err := os.ReadFile("new.img")
	require.NoError(t, err)
	damaged[60_000] ^= 1
	require.NoError(t, os.WriteFile("damaged.img", damaged, 0o644))
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"payload crate", 2, "slipway: payload \"crate\": unknown\nhint: slipway payload --help\n"},
		{"payload create", 2, "slipway: payload create: NEW missing\nhint: slipway payload create --help\n"},
		{"payload create nowhere --key key.pem", 1, "slipway: stat nowhere: no such file or directory\nhint: slipway build makes a release and prints its directory\n"},
		{"payload create empty --key key.pem", 1, "slipway: empty: no release: there is no usr.img\nhint: slipway build makes a release and prints its directory\n"},
		{"payload create text --key key.pem", 1, "hint: name a release directory, or the usr.img in it\n"},
		{"payload create damaged.img --key key.pem --level development", 1, "is corrupt\nhint: the image is damaged: build or fetch it again\n"},
		{"payload create new.img --key key.pem --level best", 2, "slipway: payload create: --level \"best\": unknown\nhint: --level release or development\n"},
		{"payload create new.img --key key.pem --minimum-version 7", 2, "slipway: payload create: --minimum-version \"7\": not MAJOR.MINOR.PATCH\n"},
		{"payload create new.img", 1, "new.img: an image for release, the keys are for development\nhint: --key REF or --keys DIR\n"},
		{"payload inspect text", 1, "slipway: text: payload: magic is \"hell\", should be \"CrAU\"\nhint: slipway payload create RELEASE makes a payload\n"},
		{"payload inspect empty", 1, "slipway: empty: not a file\nhint: slipway payload create RELEASE makes a payload\n"},
		{"payload inspect p --image old.img", 1, "slipway: old.img: is version 4891.0.0, root hash "},
		{"payload verify p", 2, "slipway: payload verify: --pub missing: whose signature counts?\n"},
		{"payload verify p --pub other.pem", 1, "slipway: p: payload metadata: not signed by a known key: signed by "},
		{"payload verify new.img --pub pub.pem", 1, "slipway: new.img: payload: magic is "},
		{"payload apply p", 2, "slipway: payload apply: --target missing: where to?\nhint: --target new-usr.img\n"},
		{"payload apply p --target empty", 1, "slipway: empty"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := run(t, strings.Fields(c.args)...)
			assert.Equal(t, c.status, status)
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, c.want)
		})
	}
	for _, at := range []int64{3, 30, 400, 50_000} {
		undo := flipByte(t, "p", at)
		status, _, stderr := run(t, "payload", "verify", "p", "--pub", "pub.pem")
		assert.Equal(t, 1, status, at)
		assert.Equal(t, 2, strings.Count(stderr, "\n"), stderr)
		undo()
	}
}

// openssl verifies what every kind of key has signed, out of one payload.
func TestPayloadSignaturesJudgedByOpenSSL(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs openssl")
	}
	judge := toolstest.Tree(t, "judge") // before the cache is a new one
	twoSlots(t)
	keys := map[string]crypto.Signer{"ed25519": ed25519.NewKeyFromSeed(noise(32, 9))}
	for _, bits := range []int{2048, 3072, 4096} {
		k, err := rsa.GenerateKey(nil, bits)
		require.NoError(t, err)
		keys[fmt.Sprintf("rsa%d", bits)] = k
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		k, err := ecdsa.GenerateKey(curve, nil)
		require.NoError(t, err)
		keys[curve.Params().Name] = k
	}
	args := []string{"payload", "create", "new.img", "--level", "development", "-o", "p"}
	ids := map[string]string{}
	for name, k := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		public, err := x509.MarshalPKIXPublicKey(k.Public())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644))
		sum := sha256.Sum256(public)
		ids[name] = hex.EncodeToString(sum[:8])
		args = append(args, "--key", name+".key")
	}
	status, _, stderr := run(t, args...)
	require.Zero(t, status, stderr)
	status, _, stderr = run(t, "payload", "inspect", "p", "--export", "x")
	require.Zero(t, status, stderr)
	for name := range keys {
		for _, part := range []string{"metadata", "payload"} {
			args := []string{"dgst", "-sha256", "-verify", name + ".pub", "-signature", fmt.Sprintf("x/%s.%s.sig", part, ids[name]), "x/" + part + ".signed"}
			if name == "ed25519" {
				args = []string{"pkeyutl", "-verify", "-pubin", "-inkey", name + ".pub", "-rawin", "-in", "x/" + part + ".digest", "-sigfile", fmt.Sprintf("x/%s.%s.sig", part, ids[name])}
			}
			said, err := judge.Command(t.Context(), "openssl", args...).CombinedOutput()
			assert.NoError(t, err, "%s %s: %s", name, part, said)
		}
		status, _, stderr := run(t, "payload", "verify", "p", "--pub", name+".pub")
		assert.Zero(t, status, "%s: %s", name, stderr)
	}
	for _, part := range []string{"metadata", "payload"} {
		signed, err := os.ReadFile("x/" + part + ".signed")
		require.NoError(t, err)
		want, err := os.ReadFile("x/" + part + ".digest")
		require.NoError(t, err)
		assert.Equal(t, want, func() []byte { s := sha256.Sum256(signed); return s[:] }())
	}
}

// Keys far away sign in a second run, which gives the same bytes as signing at
// once.
func TestPayloadInTwoPhases(t *testing.T) {
	twoSlots(t)
	status, _, stderr := run(t, "payload", "create", "new.img", "--level", "development", "--key", "key.pem", "-o", "direct")
	require.Zero(t, status, stderr)
	two := []string{"payload", "create", "new.img", "--level", "development", "--key", "public:pub.pem", "-o", "far"}
	status, _, stderr = run(t, append(two, "--digests-out", "digests")...)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "2 digests to sign in digests")
	assert.NoFileExists(t, "far")
	status, _, stderr = run(t, "sign", "digests", "--key", "key.pem")
	require.Zero(t, status, stderr)
	status, _, stderr = run(t, append(two, "--signatures-in", "digests")...)
	require.Zero(t, status, stderr)
	assert.Equal(t, digest(t, "direct"), digest(t, "far"))
}
