package erofs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	goerofs "github.com/erofs/go-erofs"

	"slipway/build/erofs"
	"slipway/build/tree"
)

const buildTime = 1_700_000_000

// disk is a file in memory.
type disk struct {
	mu sync.Mutex
	b  []byte
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end := int(off) + len(b); end > len(d.b) {
		d.b = append(d.b, make([]byte, end-len(d.b))...)
	}
	return copy(d.b[off:], b), nil
}

func options() *erofs.Options {
	return &erofs.Options{UUID: [16]byte{1, 2, 3, 15: 16}, Label: "USR", Time: buildTime}
}

// write gives the image of a tree.
func write(t testing.TB, tr *tree.Tree, opts *erofs.Options) []byte {
	t.Helper()
	var d disk
	size, err := erofs.Write(t.Context(), &d, tr, opts)
	require.NoError(t, err)
	require.Equal(t, int64(len(d.b)), size)
	require.Zero(t, size%erofs.BlockSize)
	return d.b
}

func open(t testing.TB, image []byte) *tree.Tree {
	t.Helper()
	tr, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
	require.NoError(t, err)
	return tr
}

// newTree builds a tree whose nodes have the build time unless they say
// otherwise.
func newTree(t testing.TB, nodes map[string]*tree.Node) *tree.Tree {
	t.Helper()
	tr := tree.New()
	tr.Lookup(".").MTime = buildTime
	for p, n := range nodes {
		if n.MTime == 0 {
			n.MTime = buildTime
		}
		if n.Mode == 0 {
			n.Mode = 0o644
		}
		require.NoError(t, tr.Set(p, n))
	}
	return tr
}

func file(content string) *tree.Node {
	return &tree.Node{Type: tree.File, Blob: tree.Bytes([]byte(content))}
}

// noise gives n bytes that do not repeat.
func noise(n int) string {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 4 {
		binary.LittleEndian.PutUint32(b[i:], uint32(i+n)*2654435761)
	}
	return string(b[:n])
}

// everything holds at least one of all the format can hold.
func everything(t testing.TB) *tree.Tree {
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x20\x00\x05\x00\xff\xff\xff\xff"
	shared := &tree.Node{Type: tree.File, Mode: 0o4755, Blob: tree.Bytes([]byte(noise(10_000)))}
	device := &tree.Node{Type: tree.Char, Mode: 0o600, Major: 300, Minor: 70_000}
	nodes := map[string]*tree.Node{
		"bin/su":        shared,
		"bin/su-link":   shared,
		"a/deep/su":     shared,
		"dev/big":       device,
		"dev/same":      device,
		"dev/null":      {Type: tree.Char, Mode: 0o666, Major: 1, Minor: 3},
		"dev/sda":       {Type: tree.Block, Mode: 0o660, GID: 6, Major: 8},
		"dev/most":      {Type: tree.Block, Major: 4095, Minor: 1<<20 - 1},
		"run/pipe":      {Type: tree.Fifo, Mode: 0o600},
		"tmp":           {Type: tree.Dir, Mode: 0o1777},
		"empty":         file(""),
		"link":          {Type: tree.Symlink, Mode: 0o777, Target: "../dangling"},
		"longlink":      {Type: tree.Symlink, Mode: 0o777, Target: strings.Repeat("x/", 2047)},
		"owned":         {Type: tree.File, UID: 1 << 31, GID: 70_000, Blob: tree.Bytes([]byte("me"))},
		"old":           {Type: tree.File, MTime: -5, Blob: tree.Bytes([]byte("1969"))},
		"new":           {Type: tree.File, MTime: 1 << 33, Blob: tree.Bytes([]byte("2242"))},
		"Ünïcode näme":  file("x"),
		"!before dot":   file("sorts before ."),
		"nul\xff\xfe":   file("no UTF-8"),
		"big":           file(noise(3<<20 + 17)),
		"exact":         file(noise(erofs.BlockSize)),
		"exact1":        file(noise(1 << 20)),
		"exact2":        file(noise(1<<20 + 1)),
		"twin":          file(noise(erofs.BlockSize)),
		"xattr/ping":    file("ping"),
		"xattr/acl":     file(noise(5000)),
		"xattr/dir":     {Type: tree.Dir, Mode: 0o750},
		"xattr/large":   file("content behind large attributes"),
		"xattr/largest": file(""),
		"xattr/dev":     {Type: tree.Char, Major: 1, Minor: 9},
		"xattr/link":    {Type: tree.Symlink, Target: "t", Mode: 0o777},
	}
	nodes["xattr/ping"].Xattrs = map[string]string{
		"security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14),
		"user.empty":          "",
		"user.a":              "1", "user.ab": "12", "user.abc": "123", "trusted.x": "y",
	}
	nodes["xattr/acl"].Xattrs = map[string]string{"system.posix_acl_access": acl}
	nodes["xattr/dir"].Xattrs = map[string]string{
		"system.posix_acl_access": acl, "system.posix_acl_default": acl,
	}
	nodes["xattr/large"].Xattrs = map[string]string{"user.large": noise(6000)}
	nodes["xattr/largest"].Xattrs = map[string]string{
		"user.1": noise(65535), "user.2": noise(65535), "user.3": noise(65535),
		"user." + strings.Repeat("n", 250): "v",
	}
	nodes["xattr/dev"].Xattrs = map[string]string{"security.selinux": "system_u:object_r:x:s0"}
	nodes["xattr/link"].Xattrs = map[string]string{"trusted.overlay.opaque": "y"}
	for size := 2030; size < 2070; size++ {
		nodes[fmt.Sprintf("sizes/%d", size)] = file(noise(size))
	}
	for i := range 3500 {
		nodes[fmt.Sprintf("many/entry %d of a directory that has a lot of them", i)] = file(fmt.Sprint(i))
	}
	nodes["names/"+strings.Repeat("n", 255)] = file("longest name")
	tr := newTree(t, nodes)
	for i := range 300 { // a directory for each size of its last block
		p := fmt.Sprintf("dirs/%d", i)
		for k := range i % 20 {
			require.NoError(t, tr.Set(fmt.Sprintf("%s/%s%d", p, strings.Repeat("d", i/2+1), k),
				&tree.Node{Type: tree.Dir, Mode: 0o755, MTime: buildTime}))
		}
		require.NoError(t, tr.Set(fmt.Sprintf("%s/%d", p, i), file("x")))
	}
	return tr
}

// list writes down everything a tree says, hard links by their first path.
func list(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	first := map[*tree.Node]string{}
	for p, n := range tr.All() {
		if other, ok := first[n]; ok {
			fmt.Fprintf(&b, "%q = %q\n", p, other)
			continue
		}
		first[n] = p
		fmt.Fprintf(&b, "%q %s %o %d:%d @%d", p, n.Type, n.Mode, n.UID, n.GID, n.MTime)
		switch n.Type {
		case tree.Symlink:
			fmt.Fprintf(&b, " -> %s", n.Target)
		case tree.Char, tree.Block:
			fmt.Fprintf(&b, " %d,%d", n.Major, n.Minor)
		case tree.File:
			fmt.Fprintf(&b, " %d %x", n.Size(), n.Blob.SHA256())
		}
		for _, name := range slices.Sorted(mapKeys(n.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", name, n.Xattrs[name])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	tr := everything(t)
	image := write(t, tr, options())
	got := open(t, image)
	assert.Equal(t, list(t, tr), list(t, got))

	super, err := erofs.ReadSuper(bytes.NewReader(image), int64(len(image)))
	require.NoError(t, err)
	assert.Equal(t, options().UUID, super.UUID)
	assert.Equal(t, "USR", super.Label)
	assert.EqualValues(t, buildTime, super.Time)
	assert.EqualValues(t, len(image)/erofs.BlockSize, super.Blocks)
	assert.EqualValues(t, tr.Len()-3, super.Inodes, "three paths are links")
	assert.True(t, super.Checksum)

	again := write(t, got, options())
	assert.True(t, bytes.Equal(image, again), "an image written from its own tree differs")
}

func TestDeterministic(t *testing.T) {
	tr := everything(t)
	first := write(t, tr, options())
	for _, workers := range []int{1, 2, 8} {
		opts := options()
		opts.Workers = workers
		assert.True(t, bytes.Equal(first, write(t, tr, opts)), "%d workers", workers)
	}
}

func TestEmptyTree(t *testing.T) {
	tr := newTree(t, nil)
	image := write(t, tr, options())
	assert.Len(t, image, erofs.BlockSize)
	assert.Equal(t, list(t, tr), list(t, open(t, image)))
}

// What deltas rest on: big files are block aligned, share blocks if equal, and
// one file's change leaves the blocks of the others as they are.
func TestBlocks(t *testing.T) {
	nodes := func(changed string) map[string]*tree.Node {
		return map[string]*tree.Node{
			"a": file(noise(5000)), "b": file(changed), "c": file(noise(70_000)),
			"d": file(noise(5000)), "tiny": file("tiny"),
		}
	}
	before := write(t, newTree(t, nodes(noise(9000))), options())
	after := write(t, newTree(t, nodes(noise(30_000))), options())
	where := func(image []byte, p string) (int64, []byte) {
		content := open(t, image).Lookup(p).Blob.(*erofs.Content)
		off, size := content.Blocks()
		if size == 0 {
			return 0, nil
		}
		end := (off + size + erofs.BlockSize - 1) / erofs.BlockSize * erofs.BlockSize
		return off, image[off:end]
	}
	for _, p := range []string{"a", "c", "d"} {
		off1, blocks1 := where(before, p)
		off2, blocks2 := where(after, p)
		assert.Zero(t, off1%erofs.BlockSize)
		assert.Zero(t, off2%erofs.BlockSize)
		assert.Equal(t, blocks1, blocks2, p)
	}
	offA, _ := where(before, "a")
	offD, _ := where(before, "d")
	assert.Equal(t, offA, offD, "equal files share their blocks")
	_, tiny := where(before, "tiny")
	assert.Empty(t, tiny, "tiny files lie behind their inodes")
}

func TestLinkCounts(t *testing.T) {
	shared := file("shared")
	tr := newTree(t, map[string]*tree.Node{
		"one": shared, "d/two": shared, "d/e/three": shared, "f": file("single"),
	})
	image := write(t, tr, options())
	img, err := goerofs.Open(bytes.NewReader(image))
	require.NoError(t, err)
	for p, want := range map[string]int{".": 3, "d": 3, "d/e": 2, "one": 3, "d/two": 3, "f": 1} {
		info, err := fs.Stat(img, p)
		require.NoError(t, err)
		assert.EqualValues(t, want, info.Sys().(*goerofs.Stat).Nlink, p)
	}
}

// A reader by others must see the same.
func TestOtherReader(t *testing.T) {
	tr := everything(t)
	image := write(t, tr, options())
	img, err := goerofs.Open(bytes.NewReader(image))
	require.NoError(t, err)
	seen := 0
	require.NoError(t, fs.WalkDir(img, ".", func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		n := tr.Lookup(p)
		require.NotNil(t, n, p)
		info, err := d.Info()
		require.NoError(t, err)
		st := info.Sys().(*goerofs.Stat)
		assert.EqualValues(t, n.UID, st.UID, p)
		assert.EqualValues(t, n.GID, st.GID, p)
		if n.MTime >= 0 {
			assert.EqualValues(t, n.MTime, st.Mtime, p)
		}
		for name, value := range n.Xattrs {
			if strings.HasPrefix(name, "system.posix_acl_") {
				name += "." // go-erofs 0.3.1 calls ACLs so; Linux does not
			}
			assert.Equal(t, value, st.Xattrs[name], "%s: %s", p, name)
		}
		assert.Len(t, st.Xattrs, len(n.Xattrs), p)
		if n.Type == tree.File {
			got, err := fs.ReadFile(img, p)
			require.NoError(t, err, p)
			want, err := tree.ReadAll(n.Blob)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), p)
		}
		seen++
		return nil
	}))
	assert.Equal(t, tr.Len(), seen)
}

// lying is a blob that claims another size.
type lying struct {
	tree.Blob
	size int64
}

func (l lying) Size() int64 { return l.size }

type broken struct{ tree.Blob }

func (broken) Open() (io.ReadCloser, error) { return nil, fs.ErrNotExist }

func TestWriteErrors(t *testing.T) {
	dir := &tree.Node{Type: tree.Dir, Mode: 0o755}
	with := func(x string) *tree.Node {
		n := file("x")
		n.Xattrs = map[string]string{x: "v"}
		return n
	}
	blob := func(b tree.Blob) *tree.Node { return &tree.Node{Type: tree.File, Blob: b} }
	small, large := tree.Bytes([]byte("four")), tree.Bytes([]byte(noise(3<<20)))
	long := strings.Repeat("n", 256)
	huge := with("user.x")
	huge.Xattrs["user.x"] = noise(65536)
	for _, c := range []struct {
		nodes map[string]*tree.Node
		want  string
	}{
		{map[string]*tree.Node{"a": dir, "b": dir},
			"erofs: directory /b: is /a too; only other files can be hard linked"},
		{map[string]*tree.Node{"d/" + long: file("")},
			"erofs: path /d/" + long + ": name has 256 bytes, limit 255"},
		{map[string]*tree.Node{"l": {Type: tree.Symlink}},
			"erofs: symlink /l: target has 0 bytes, limit 1 to 4095"},
		{map[string]*tree.Node{"l": {Type: tree.Symlink, Target: noise(4096)}},
			"erofs: symlink /l: target has 4096 bytes, limit 1 to 4095"},
		{map[string]*tree.Node{"dev": {Type: tree.Char, Major: 4096}},
			"erofs: device /dev: number 4096:0, limit 4095:1048575"},
		{map[string]*tree.Node{"s": {Type: 9}}, "erofs: path /s: type 9 cannot be stored"},
		{map[string]*tree.Node{"m": {Type: tree.Fifo, Mode: 0o10644}},
			"erofs: path /m: mode 10644 has more than permission bits"},
		{map[string]*tree.Node{"x": with("system.nfs4_acl")},
			`erofs: path /x: xattr "system.nfs4_acl": the format has no such name prefix`},
		{map[string]*tree.Node{"x": with("user.")},
			`erofs: path /x: xattr "user.": name is only a prefix`},
		{map[string]*tree.Node{"x": with("user." + long)},
			`erofs: path /x: xattr "user.` + long + `": name has 261 bytes, limit 255`},
		{map[string]*tree.Node{"x": huge},
			`erofs: path /x: xattr "user.x": value is 65536 bytes, limit 65535`},
		{map[string]*tree.Node{"short/s": blob(lying{small, 7})},
			"erofs: file /short/s: content is 4 bytes, should be 7"},
		{map[string]*tree.Node{"short/s": blob(lying{small, 0})}, ""},
		{map[string]*tree.Node{"long": blob(lying{small, 3})},
			"erofs: file /long: content is longer than its 3 bytes"},
		{map[string]*tree.Node{"short/l": blob(lying{large, 4 << 20})},
			"erofs: file /short/l: content is 3145728 bytes, should be 4194304"},
		{map[string]*tree.Node{"long": blob(lying{large, 2 << 20}), "other": file(noise(5000))},
			"erofs: file /long: content is longer than its 2097152 bytes"},
		{map[string]*tree.Node{"gone": blob(broken{large})}, "erofs: file /gone: file does not exist"},
		{map[string]*tree.Node{"gone": blob(broken{small})}, "erofs: file /gone: file does not exist"},
	} {
		var d disk
		_, err := erofs.Write(t.Context(), &d, newTree(t, c.nodes), options())
		if c.want == "" {
			assert.NoError(t, err, "an empty file is not opened")
			continue
		}
		assert.EqualError(t, err, c.want)
		if len(d.b) > 1024 {
			assert.Zero(t, binary.LittleEndian.Uint32(d.b[1024:]), "no superblock after an error")
		}
	}

	opts := options()
	opts.Label = "seventeen letters"
	_, err := erofs.Write(t.Context(), &disk{}, newTree(t, nil), opts)
	assert.EqualError(t, err, `erofs: label "seventeen letters" has 17 bytes, limit 16`)

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = erofs.Write(canceled, &disk{}, everything(t), options())
	assert.ErrorIs(t, err, context.Canceled)

	_, err = erofs.Write(t.Context(), fullDisk{}, everything(t), options())
	assert.EqualError(t, err, "erofs: disk is full")
}

type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, fmt.Errorf("disk is full") }

// rotten is content that changed since its digest was taken.
type rotten struct{ tree.Blob }

func (rotten) SHA256() [32]byte { return sha256.Sum256([]byte("what it was")) }

func TestWriteRefusesRottenContent(t *testing.T) {
	for _, size := range []int{10, 5000, 3 << 20} {
		tr := tree.New()
		blob := rotten{tree.Bytes(make([]byte, size))}
		require.NoError(t, tr.Set("lib/x", &tree.Node{Type: tree.File, Mode: 0o644, Blob: blob}))
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		require.NoError(t, err)
		_, err = erofs.Write(t.Context(), f, tr, &erofs.Options{})
		assert.ErrorContains(t, err, "file /lib/x: content has sha256 ")
		var damaged *tree.DigestError
		assert.ErrorAs(t, err, &damaged)
		require.NoError(t, f.Close())
	}
}
