package initramfs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/initramfs"
	"slipway/build/tree"
)

func contents() *initramfs.Contents {
	return &initramfs.Contents{
		Init: []byte("engine"), OSRelease: []byte("ID=x\n"), Kernel: "6.1", Time: 1_700_000_000,
		Keys: map[string][]byte{"00ff": []byte("PEM")},
		Modules: []initramfs.Module{
			{Path: "kernel/lib/b.ko", Blob: tree.Bytes(module("license=GPL"))},
			{Path: "kernel/a.ko", Blob: tree.Bytes(module("depends=b", "alias=pci:v1*"))},
		},
	}
}

// build writes the contents and returns the compressed archive.
func build(t *testing.T, c *initramfs.Contents) []byte {
	t.Helper()
	files, err := c.Tree()
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, initramfs.Write(&out, &initramfs.Options{Tree: files, Time: c.Time}))
	return out.Bytes()
}

// list reads an archive with a foreign reader: one line per entry.
func list(t *testing.T, r io.Reader) string {
	t.Helper()
	var out strings.Builder
	for archive := cpio.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		require.NoError(t, err)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		content := fmt.Sprintf("%q", data)
		if strings.HasSuffix(h.Name, ".ko") {
			content = "*"
		}
		fmt.Fprintf(&out, "%s %o %d:%d %d %s\n", h.Name, uint32(h.Mode), h.Uid, h.Guid, h.ModTime.Unix(), content)
	}
}

func TestContents(t *testing.T) {
	raw := build(t, contents())
	z, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderMaxWindow(8<<20), zstd.IgnoreChecksum(false))
	require.NoError(t, err)
	// The zeros at the end are for the kernel; zstd takes them for a second,
	// broken frame after it has given everything.
	plain, _ := io.ReadAll(z)
	want := `dev 40755 0:0 1700000000 ""
dev/console 20600 0:0 1700000000 ""
etc 40755 0:0 1700000000 ""
etc/slipway 40755 0:0 1700000000 ""
etc/slipway/keys 40755 0:0 1700000000 ""
etc/slipway/keys/00ff.pem 100644 0:0 1700000000 "PEM"
etc/slipway/modules.order 100644 0:0 1700000000 "/lib/modules/6.1/kernel/lib/b.ko pci:v1*\n/lib/modules/6.1/kernel/a.ko pci:v1*\n"
etc/slipway/os-release 100644 0:0 1700000000 "ID=x\n"
init 100755 0:0 1700000000 "engine"
lib 40755 0:0 1700000000 ""
lib/modules 40755 0:0 1700000000 ""
lib/modules/6.1 40755 0:0 1700000000 ""
lib/modules/6.1/kernel 40755 0:0 1700000000 ""
lib/modules/6.1/kernel/a.ko 100644 0:0 1700000000 *
lib/modules/6.1/kernel/lib 40755 0:0 1700000000 ""
lib/modules/6.1/kernel/lib/b.ko 100644 0:0 1700000000 *
proc 40755 0:0 1700000000 ""
run 40755 0:0 1700000000 ""
sys 40755 0:0 1700000000 ""
sysroot 40755 0:0 1700000000 ""
`
	assert.Equal(t, want, list(t, bytes.NewReader(plain)))
	assert.Zero(t, len(raw)%4)
	assert.Equal(t, raw, build(t, contents()), "equal contents, equal bytes")
}

func TestSeal(t *testing.T) {
	raw := build(t, contents())
	id := initramfs.BootID([]byte("kernel"), raw, "quiet")
	sealed, err := initramfs.Seal(raw, id, 1_700_000_000)
	require.NoError(t, err)
	assert.Equal(t, raw, sealed[:len(raw)])
	want := `etc 40755 0:0 1700000000 ""
etc/slipway 40755 0:0 1700000000 ""
etc/slipway/boot-id 100644 0:0 1700000000 "` + id + `\n"
`
	assert.Equal(t, want, list(t, bytes.NewReader(sealed[len(raw):])))

	_, err = initramfs.Seal([]byte("abc"), id, 0)
	assert.EqualError(t, err, "initramfs: 3 bytes are not a multiple of 4")
}

func TestBootID(t *testing.T) {
	sum := sha256.Sum256([]byte("\x01\x00\x00\x00\x00\x00\x00\x00k\x02\x00\x00\x00\x00\x00\x00\x00ii\x00\x00\x00\x00\x00\x00\x00\x00"))
	assert.Equal(t, hex.EncodeToString(sum[:]), initramfs.BootID([]byte("k"), []byte("ii"), ""))
	assert.NotEqual(t, initramfs.BootID([]byte("ab"), []byte("c"), ""), initramfs.BootID([]byte("a"), []byte("bc"), ""))
}

// badBlob gives less than it promises.
type badBlob struct{ tree.Blob }

func (badBlob) Size() int64 { return 10 }

func TestWriteErrors(t *testing.T) {
	cases := []struct {
		name string
		node *tree.Node
		want string
	}{
		{"short content", &tree.Node{Type: tree.File, Blob: badBlob{tree.Bytes([]byte("x"))}}, "initramfs: /f: content is 1 bytes, want 10"},
		{
			"xattr", &tree.Node{Type: tree.File, Xattrs: map[string]string{"user.a": "b"}},
			"initramfs: /f: extended attributes cannot be stored in an initramfs",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := tree.New()
			require.NoError(t, files.Set("f", c.node))
			assert.EqualError(t, initramfs.Write(io.Discard, &initramfs.Options{Tree: files}), c.want)
		})
	}
	c := contents()
	c.Modules[0].Blob = tree.Bytes([]byte("\xfd7zXZ\x00, not a module"))
	_, err := c.Tree()
	assert.ErrorContains(t, err, "initramfs: kernel module kernel/lib/b.ko: not an uncompressed module: bad magic number")
	c = contents()
	c.Keys = nil
	_, err = c.Tree()
	assert.EqualError(t, err, "initramfs: no keys: it could start no slot")
}
