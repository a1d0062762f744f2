package inspect_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/initramfs"
	"slipway/build/tree"
	"slipway/cmd/internal/inspect"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

const slotSize = 4 << 20

// kernelImage is a PE file with nothing but an initramfs in it.
func kernelImage(initrd []byte) []byte {
	const headers, optional = 0x400, 0x58
	b := append(make([]byte, headers), initrd...)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	coff, opt, section := b[0x44:], b[optional:], b[optional+160:]
	binary.LittleEndian.PutUint16(coff, 0x8664)
	binary.LittleEndian.PutUint16(coff[2:], 1)
	binary.LittleEndian.PutUint16(coff[16:], 160)
	binary.LittleEndian.PutUint16(opt, 0x20b)
	binary.LittleEndian.PutUint32(opt[32:], 4096)
	binary.LittleEndian.PutUint32(opt[36:], 512)
	binary.LittleEndian.PutUint32(opt[60:], headers)
	binary.LittleEndian.PutUint32(opt[108:], 6)
	copy(section, ".initrd")
	binary.LittleEndian.PutUint32(section[8:], uint32(len(initrd)))
	binary.LittleEndian.PutUint32(section[12:], 4096)
	binary.LittleEndian.PutUint32(section[16:], uint32(len(initrd)))
	binary.LittleEndian.PutUint32(section[20:], headers)
	return b
}

// slotOf writes a slot with these files and opens it.
func slotOf(t *testing.T, files map[string][]byte) *inspect.SlotInfo {
	t.Helper()
	usr := tree.New()
	for p, data := range files {
		require.NoError(t, usr.Set(p, &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(data)}))
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "usr.img"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	size, err := erofs.Write(t.Context(), f, usr, &erofs.Options{Label: "USR"})
	require.NoError(t, err)
	require.NoError(t, f.Truncate(slotSize))
	hash := strings.Repeat("ab", 32)
	public, err := key.New(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	require.NoError(t, err)
	private, err := signing.EncodePrivate(ed25519.NewKeyFromSeed(make([]byte, 32)), nil, true)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), public.ID)
	require.NoError(t, os.WriteFile(name, private, 0o600))
	s, err := signing.Open(t.Context(), name, &signing.Options{})
	require.NoError(t, err)
	require.NoError(t, footer.Write(t.Context(), f, slotSize, &footer.Footer{
		Format: footer.Format, Name: "slipway", Version: "1.0.0", Architecture: "amd64",
		FSType: "erofs", FSSize: size, HashOffset: size, HashSize: 4096, BlockSize: 4096,
		RootHash: hash, BootID: hash,
		UKI: footer.UKI{Path: "lib/slipway/boot.efi", SHA256: hash, Size: 1},
	}, s))
	image, err := inspect.Open(f, slotSize, nil)
	require.NoError(t, err)
	slot, err := image.Active()
	require.NoError(t, err)
	return slot
}

func TestTrust(t *testing.T) {
	public, err := key.New(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public())
	require.NoError(t, err)
	initrd := func(pem []byte) []byte {
		contents := &initramfs.Contents{Init: []byte("engine"), Keys: map[string][]byte{public.ID: pem}, Kernel: "6.1"}
		files, err := contents.Tree()
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, initramfs.Write(&out, &initramfs.Options{Tree: files}))
		sealed, err := initramfs.Seal(out.Bytes(), strings.Repeat("ab", 32), 0)
		require.NoError(t, err)
		return sealed
	}
	set := keyset.New()
	set.Keys = append(set.Keys, keyset.NewEntry(public, keyset.Payload))
	file, err := keyset.NewFile(set)
	require.NoError(t, err)
	text, err := file.Encode()
	require.NoError(t, err)
	const uki = "lib/slipway/boot.efi"

	trust, err := slotOf(t, map[string][]byte{uki: kernelImage(initrd(public.PEM())), keyset.Path: text}).Trust()
	require.NoError(t, err)
	assert.Equal(t, []key.Key{public}, trust.Slots)
	assert.Equal(t, set, trust.Set)

	trust, err = slotOf(t, map[string][]byte{uki: kernelImage(initrd(public.PEM()))}).Trust()
	require.NoError(t, err)
	assert.Nil(t, trust.Set, "images were made before there were key sets")

	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"no kernel":    {map[string][]byte{"x": nil}, "/usr/lib/slipway/boot.efi: not in the slot"},
		"no PE":        {map[string][]byte{uki: []byte("x")}, "/usr/lib/slipway/boot.efi: UKI: "},
		"no initramfs": {map[string][]byte{uki: kernelImage([]byte("xxxx"))}, "/usr/lib/slipway/boot.efi: initramfs: "},
		"cut short":    {map[string][]byte{uki: kernelImage(initrd(public.PEM())[:200])}, "/usr/lib/slipway/boot.efi: initramfs: "},
		"no key":       {map[string][]byte{uki: kernelImage(initrd([]byte("x")))}, "initramfs: etc/slipway/keys/" + public.ID + ".pem: public key: no PEM block"},
		"bad set":      {map[string][]byte{uki: nil, keyset.Path: []byte("{}")}, "/usr/share/slipway/keys.json: key set: malformed: "},
		"huge set":     {map[string][]byte{uki: nil, keyset.Path: make([]byte, 1<<20)}, "/usr/share/slipway/keys.json: 1048576 bytes, want at most 262144"},
	} {
		_, err := slotOf(t, c.files).Trust()
		assert.ErrorContains(t, err, c.want, name)
	}
}
