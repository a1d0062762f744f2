package erofs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/erofs"
	"slipway/build/tree"
)

// Where things lie in the image of sample.
const (
	sbAt   = 1024
	rootAt = sbAt + 128
)

// sample is a small image without a checksum, so that a changed byte is found
// by what reads it. Its inodes are "." (1152), "d", "d/f", "l", "x".
func sample(t testing.TB) []byte {
	x := file("x")
	x.Xattrs = map[string]string{"user.k": "value"}
	x.UID = 70_000
	image := write(t, newTree(t, map[string]*tree.Node{
		"d/f": file(noise(5000)),
		"l":   {Type: tree.Symlink, Mode: 0o777, Target: "d/f"},
		"x":   x,
	}), options())
	image[sbAt+8] &^= 1
	return image
}

// inodeAt finds the inode of a name in the root directory.
func inodeAt(t testing.TB, image []byte, name string) int {
	dir := image[rootAt+32:]
	count := int(binary.LittleEndian.Uint16(dir[8:])) / 12
	for i := range count {
		from := int(binary.LittleEndian.Uint16(dir[i*12+8:]))
		if bytes.HasPrefix(dir[from:], []byte(name)) {
			return int(binary.LittleEndian.Uint64(dir[i*12:])) * 32
		}
	}
	t.Fatalf("no %q in the sample", name)
	return 0
}

func TestOpenErrors(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"short", func(b []byte) []byte { return b[:1100] },
			"erofs superblock: bytes 1024 to 1152 are outside of the image's 1100"},
		{"magic", func(b []byte) []byte { b[sbAt]++; return b },
			"erofs superblock: magic number is 0xe0f5e1e3, should be 0xe0f5e1e2"},
		{"block size", func(b []byte) []byte { b[sbAt+12] = 40; return b },
			"erofs superblock: block size is 2^40, supported are 2^9 to 2^16"},
		{"features", func(b []byte) []byte { b[sbAt+80] = 0x0C; return b },
			"erofs superblock: unsupported features 0xc"},
		{"truncated", func(b []byte) []byte { return b[:8192] },
			"erofs superblock: image has 3 blocks of 4096 bytes, 8192 bytes are there"},
		{"checksum", func(b []byte) []byte { b[sbAt+8] |= 1; b[3000]++; return b },
			"erofs superblock: checksum is 98dda8ca, should be 3a6a953b"},
		{"root outside", func(b []byte) []byte { le.PutUint16(b[sbAt+14:], 0xFFFF); return b },
			"erofs: /: inode 65535: is outside of the image"},
		{"root is a file", func(b []byte) []byte { le.PutUint16(b[rootAt+4:], 0o100644); return b },
			"erofs: /: is a file, not a directory"},
		{"format", func(b []byte) []byte { b[rootAt+1] = 1; return b },
			"erofs: /: inode 36: unknown format 0x104"},
		{"compressed", func(b []byte) []byte { b[inodeAt(t, b, "x")] = 3<<1 | 1; return b },
			"erofs: /x: inode 46: is compressed; only uncompressed images can be read"},
		{"chunks", func(b []byte) []byte { b[inodeAt(t, b, "x")] = 4<<1 | 1; return b },
			"erofs: /x: inode 46: is stored in chunks, which are not supported"},
		{"layout", func(b []byte) []byte { b[inodeAt(t, b, "x")] = 6<<1 | 1; return b },
			"erofs: /x: inode 46: unknown data layout 6"},
		{"socket", func(b []byte) []byte { le.PutUint16(b[inodeAt(t, b, "x")+4:], 0o140644); return b },
			"erofs: /x: inode 46: mode 140644 is of no supported type"},
		{"negative size", func(b []byte) []byte { b[inodeAt(t, b, "x")+15] = 0x80; return b },
			"erofs: /x: inode 46: size 9223372036854775809 is out of range"},
		{"inline too large", func(b []byte) []byte { b[inodeAt(t, b, "x")+9] = 0x0F; return b },
			"erofs: /x: inode 46: inline content of 3841 bytes at 1560 crosses a block"},
		{"blocks outside", func(b []byte) []byte { b[inodeAt(t, b, "x")+10] = 0xFF; return b },
			"erofs: /x: inode 46: content of 16711680 bytes at block 4294967295 is outside of the image"},
		{"xattrs outside", func(b []byte) []byte { b[inodeAt(t, b, "x")+3] = 0xFF; return b },
			"erofs: /x: inode 46: bytes 1536 to 262680 are outside of the image's 12288"},
		{"xattr entry", func(b []byte) []byte { b[inodeAt(t, b, "x")+64+12] = 200; return b },
			"erofs: /x: inode 46: xattrs: entry of 209 bytes, 12 left"},
		{"xattr prefix", func(b []byte) []byte { b[inodeAt(t, b, "x")+64+13] = 77; return b },
			`erofs: /x: inode 46: xattr "k": unknown name prefix 77`},
		{"xattr long prefix", func(b []byte) []byte { b[inodeAt(t, b, "x")+64+13] = 0x81; return b },
			`erofs: /x: inode 46: xattr "k": long name prefixes are not supported`},
		{"shared xattrs", func(b []byte) []byte { b[inodeAt(t, b, "x")+64+4] = 4; return b },
			"erofs: /x: inode 46: xattrs: 4 shared attributes in a body of 24 bytes"},
		{"shared xattr outside", func(b []byte) []byte { b[inodeAt(t, b, "x")+64+4] = 1; return b },
			"erofs: /x: inode 46: bytes 1311748 to 1311752 are outside of the image's 12288"},
		{"xattr twice", func(b []byte) []byte {
			x := b[inodeAt(t, b, "x")+64:]
			x[4] = 2
			for i := range 2 {
				le.PutUint32(x[12+4*i:], 3000/4)
			}
			copy(b[3000:], "\x01\x01\x05\x00kvalue")
			return b
		}, `erofs: /x: inode 46: xattr "user.k": present twice`},
		{"empty target", func(b []byte) []byte { b[inodeAt(t, b, "l")+8] = 0; return b },
			"erofs: /l: inode 44: symlink target has 0 bytes, limit 1 to 4095"},
		{"target with NUL", func(b []byte) []byte { b[inodeAt(t, b, "l")+33] = 0; return b },
			`erofs: /l: inode 44: symlink target "d\x00f" holds a NUL byte`},
		{"loop", func(b []byte) []byte {
			root := b[rootAt+32:] // make the inode of x, the last entry, that of d
			copy(root[4*12:4*12+8], root[2*12:])
			return b
		}, "erofs: /d: directory with inode 40 is reached twice"},
		{"root in root", func(b []byte) []byte { b[rootAt+32+4*12] = rootAt / 32; return b },
			"erofs: /x: directory with inode 36 is reached twice"},
		{"wrong dot", func(b []byte) []byte { b[rootAt+32]++; return b },
			`erofs: /: directory entry "." is inode 37, should be 36`},
		{"wrong dot dot", func(b []byte) []byte { b[rootAt+32+12]++; return b },
			`erofs: /: directory entry ".." is inode 37, should be 36`},
		{"order", func(b []byte) []byte {
			names := bytes.Index(b[rootAt:], []byte("...dlx"))
			copy(b[rootAt+names:], "...ldx")
			return b
		}, `erofs: /: directory entry "d": follows "l", not in order`},
		{"slash", func(b []byte) []byte {
			b[rootAt+bytes.Index(b[rootAt:], []byte("...dlx"))+4] = '/'
			return b
		}, `erofs: /: directory block 0: entry 3: bad name "/"`},
		{"name offset", func(b []byte) []byte { b[rootAt+32+2*12+8] = 1; return b },
			"erofs: /: directory block 0: entry 1: name is bytes 61 to 1 of 66"},
		{"no names", func(b []byte) []byte { b[rootAt+32+8] = 13; return b },
			"erofs: /: directory block 0: names start at byte 13 of 66"},
		{"tiny directory", func(b []byte) []byte { b[rootAt+8] = 5; return b },
			"erofs: /: directory block 0: 5 bytes, too short for an entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := c.change(sample(t))
			_, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
			assert.EqualError(t, err, c.want)
		})
	}
}

// mkfs.erofs stores attributes that many files have only once.
func TestSharedXattrs(t *testing.T) {
	image := sample(t)
	body := image[inodeAt(t, image, "x")+64:][:24]
	clear(body[12:])
	body[4] = 1
	binary.LittleEndian.PutUint32(body[12:], 3000/4)
	copy(body[16:], "\x01\x04\x01\x00tv")
	copy(image[3000:], "\x06\x06\x05\x00sharedvalue")
	assert.Equal(t, map[string]string{"security.shared": "value", "trusted.t": "v"},
		open(t, image).Lookup("x").Xattrs)
}

func TestContent(t *testing.T) {
	image := sample(t)
	tr := open(t, image)
	want := []byte(noise(5000))
	content := tr.Lookup("d/f").Blob.(*erofs.Content)
	assert.EqualValues(t, sha256.Sum256(want), content.SHA256())
	r, err := content.Open()
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(r, want))
	require.NoError(t, r.Close())

	// Reading goes on to fail if the image does.
	r, err = content.Open()
	require.NoError(t, err)
	_, ok := r.(io.ReaderAt)
	assert.True(t, ok, "contents can be read at offsets")
	failing := &failingReader{r: bytes.NewReader(image)}
	tr, err = erofs.Open(failing, int64(len(image)))
	require.NoError(t, err)
	failing.err = errors.New("disk is gone")
	assert.Zero(t, tr.Lookup("d/f").Blob.SHA256())
	_, err = tree.ReadAll(tr.Lookup("d/f").Blob)
	assert.EqualError(t, err, "disk is gone")
}

type failingReader struct {
	r   io.ReaderAt
	err error
}

func (f *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.r.ReadAt(b, off)
}

// Whatever Open accepts can be read, and written again to the same tree.
func FuzzOpen(f *testing.F) {
	f.Add(sample(f))
	f.Add(write(f, newTree(f, nil), options()))
	for bits := range byte(20) { // with a checksum over another part
		image := sample(f)
		image[sbAt+8] |= 1
		image[sbAt+12] = bits
		f.Add(image)
	}
	many := map[string]*tree.Node{"dev": {Type: tree.Char, Major: 9}, "p": {Type: tree.Fifo}}
	for i := range 200 {
		many[string(rune('a'+i%26))+noiseName(i)] = file(noise(i))
	}
	image := write(f, newTree(f, many), options())
	image[sbAt+8] &^= 1
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := erofs.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		total := int64(0)
		for _, n := range tr.All() {
			total += n.Size()
		}
		if total > 1<<20 { // many files may name the same blocks
			return
		}
		var d disk
		size, err := erofs.Write(t.Context(), &d, tr, options())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := erofs.Open(bytes.NewReader(d.b), size)
		require.NoError(t, err)
		require.Equal(t, list(t, tr), list(t, again))
	})
}

func noiseName(i int) string { return string(rune('0'+i/26)) + string(rune('A'+i%26)) }
