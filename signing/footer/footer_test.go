package footer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/footer"
	"slipway/signing/key"
)

const slotSize = 1 << 20

// testSigner signs with a key that exists in this test only.
type testSigner struct {
	key  key.Key
	sign func(digest [32]byte) ([]byte, error)
}

func (s testSigner) KeyID() string     { return s.key.ID }
func (s testSigner) Algorithm() string { return s.key.Algorithm }
func (s testSigner) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return s.sign(digest)
}

func newSigner(t testing.TB, private crypto.Signer) testSigner {
	t.Helper()
	public, err := key.New(private.Public())
	require.NoError(t, err)
	hash := crypto.SHA256
	if public.Algorithm == key.Ed25519 {
		hash = 0
	}
	return testSigner{key: public, sign: func(digest [32]byte) ([]byte, error) {
		return private.Sign(nil, digest[:], hash)
	}}
}

// seeded is the Ed25519 key made out of one repeated byte.
func seeded(t testing.TB, b byte) testSigner {
	return newSigner(t, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize)))
}

func sample() *footer.Footer {
	return &footer.Footer{
		Format: footer.Format, Name: "slipway", Version: "4892.0.0", MinimumVersion: "4800.0.0",
		Architecture: "amd64", Development: true,
		FSType: "erofs", FSSize: 512 << 10, HashOffset: 512 << 10, HashSize: 8 << 10, BlockSize: 4096,
		Salt: "00ff", RootHash: strings.Repeat("ab", 32),
		UKI:    footer.UKI{Path: "lib/slipway/boot.efi", SHA256: strings.Repeat("cd", 32), Size: 4711},
		BootID: strings.Repeat("ef", 32),
	}
}

// slot returns a slot of zeros with the given footer block at its end.
func slot(block []byte) *bytes.Reader {
	return bytes.NewReader(append(make([]byte, slotSize-footer.Size), block...))
}

func TestRoundTripWithEveryKind(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), nil)
	require.NoError(t, err)
	rsa2048, err := rsa.GenerateKey(nil, 2048)
	require.NoError(t, err)
	signers := []footer.Signer{
		seeded(t, 1), newSigner(t, p256), newSigner(t, p384), newSigner(t, rsa2048),
	}
	block, err := footer.Encode(t.Context(), slotSize, sample(), signers...)
	require.NoError(t, err)
	require.Len(t, block, footer.Size)
	for _, s := range signers {
		t.Run(s.Algorithm(), func(t *testing.T) {
			got, err := footer.Read(slot(block), slotSize, []key.Key{s.(testSigner).key})
			require.NoError(t, err)
			assert.Equal(t, sample(), got)
		})
	}
}

func TestReadErrors(t *testing.T) {
	good, stranger := seeded(t, 1), seeded(t, 2)
	block, err := footer.Encode(t.Context(), slotSize, sample(), good)
	require.NoError(t, err)
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(block)
		f(b)
		return b
	}
	cases := []struct {
		name  string
		block []byte
		keys  []key.Key
		want  string
	}{
		{"empty slot", make([]byte, footer.Size), nil, "slot of 1048576 bytes: no slot footer"},
		{
			"unknown key", block,
			[]key.Key{stranger.key},
			"slot footer: not signed by a known key: signed by " + good.key.ID + "; accepted: " + stranger.key.ID,
		},
		{
			"no keys at all", block, nil,
			"slot footer: not signed by a known key: signed by " + good.key.ID + "; accepted: none",
		},
		{
			"body changed",
			change(func(b []byte) { b[bytes.Index(b, []byte("4892"))] = '5' }),
			[]key.Key{good.key},
			"slot footer: bad signature by " + good.key.ID + ": the footer was changed after it was signed",
		},
		{
			"algorithm changed",
			change(func(b []byte) { b[bytes.Index(b, []byte(`"ed25519"`))+1] = 'x' }),
			[]key.Key{good.key},
			"slot footer: signature by " + good.key.ID + ` is "xd25519", the key is for "ed25519"`,
		},
		{"version", change(func(b []byte) { b[8] = 9 }), nil, "slot footer: version 9, want 1"},
		{
			"body too long",
			change(func(b []byte) { binary.LittleEndian.PutUint32(b[12:], 0xffffffff) }), nil,
			"slot footer: malformed: 4294967295 bytes of body and 156 of signatures do not fit",
		},
		{"reserved", change(func(b []byte) { b[20] = 1 }), nil, "slot footer: malformed: reserved bytes are not zero"},
		{"padding", change(func(b []byte) { b[len(b)-1] = 1 }), nil, "slot footer: malformed: reserved bytes are not zero"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := footer.Read(slot(c.block), slotSize, c.keys)
			assert.EqualError(t, err, c.want)
		})
	}
	_, err = footer.Read(slot(make([]byte, footer.Size)), slotSize, nil)
	assert.ErrorIs(t, err, footer.ErrNone)
}

func TestEveryByteIsCovered(t *testing.T) {
	s := seeded(t, 1)
	block, err := footer.Encode(t.Context(), slotSize, sample(), s)
	require.NoError(t, err)
	used := len(bytes.TrimRight(block, "\x00"))
	for i := range block {
		if i > used+8 && i%61 != 0 && i != len(block)-1 {
			continue // of the padding, some will do
		}
		changed := bytes.Clone(block)
		changed[i] ^= 0x01
		f, err := footer.Read(slot(changed), slotSize, []key.Key{s.key})
		if err == nil {
			t.Fatalf("byte %d changed and the footer still reads: %+v", i, f)
		}
	}
}

func TestInspectNeedsNoKey(t *testing.T) {
	a, b := seeded(t, 1), seeded(t, 2)
	block, err := footer.Encode(t.Context(), slotSize, sample(), a, b)
	require.NoError(t, err)
	f, signatures, err := footer.Inspect(slot(block), slotSize)
	require.NoError(t, err)
	assert.Equal(t, sample(), f)
	require.Len(t, signatures, 2)
	assert.Equal(t, []string{a.key.ID, b.key.ID}, []string{signatures[0].KeyID, signatures[1].KeyID})
}

func TestUnknownFieldIsPassedOver(t *testing.T) {
	s := seeded(t, 1)
	block, err := footer.Encode(t.Context(), slotSize, sample(), s)
	require.NoError(t, err)
	body := bytes.Replace(block[24:24+binary.LittleEndian.Uint32(block[12:])], []byte(`"name"`), []byte(`"future":7,"name"`), 1)
	f, err := footer.Read(slot(footer.Assemble(body, s)), slotSize, []key.Key{s.key})
	require.NoError(t, err)
	assert.Equal(t, sample(), f)
}

func TestValidate(t *testing.T) {
	cases := []struct {
		name   string
		change func(f *footer.Footer)
		want   string
	}{
		{"format", func(f *footer.Footer) { f.Format = "x" }, `slot footer: format "x", want "slipway-slot-1"`},
		{"version", func(f *footer.Footer) { f.Version = "" }, "slot footer: no version"},
		{"file system", func(f *footer.Footer) { f.FSType = "ext4" }, `slot footer: file system "ext4", want "erofs"`},
		{"block size", func(f *footer.Footer) { f.BlockSize = 1 }, "slot footer: block size 1, want 4096"},
		{"negative size", func(f *footer.Footer) { f.FSSize = -4096 }, "slot footer: file system of -4096 bytes in a slot of 1048576"},
		{"huge size", func(f *footer.Footer) { f.FSSize = 1 << 62 }, "slot footer: file system of 4611686018427387904 bytes in a slot of 1048576"},
		{"tree in file system", func(f *footer.Footer) { f.HashOffset = 4096 }, "slot footer: hash tree at 4096, file system ends at 524288"},
		{"tree over footer", func(f *footer.Footer) { f.HashSize = 512 << 10 }, "slot footer: hash tree of 524288 bytes at 524288 reaches beyond 1032192"},
		{"path", func(f *footer.Footer) { f.UKI.Path = "../x" }, `slot footer: kernel image path "../x"`},
		{"kernel size", func(f *footer.Footer) { f.UKI.Size = 0 }, "slot footer: kernel image of 0 bytes"},
		{"salt", func(f *footer.Footer) { f.Salt = "xyz" }, "slot footer: salt is not at most 256 bytes of hex"},
		{"root hash", func(f *footer.Footer) { f.RootHash = "12" }, `slot footer: root_hash "12" is not a SHA-256 in hex`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := sample()
			c.change(f)
			assert.EqualError(t, f.Validate(slotSize), c.want)
			_, err := footer.Encode(t.Context(), slotSize, f, seeded(t, 1))
			assert.EqualError(t, err, c.want)
		})
	}
}

func FuzzRead(f *testing.F) {
	s := seeded(f, 1)
	block, err := footer.Encode(f.Context(), slotSize, sample(), s)
	require.NoError(f, err)
	f.Add(block)
	f.Add(make([]byte, footer.Size))
	f.Add([]byte(footer.Magic))
	f.Add(footer.Assemble([]byte(`{"fs_size":-1}`), s))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := footer.Read(bytes.NewReader(data), int64(len(data)), []key.Key{s.key})
		if err == nil {
			assert.NoError(t, got.Validate(int64(len(data))))
		}
		_, _, _ = footer.Inspect(bytes.NewReader(data), int64(len(data)))
	})
}
