package tree_test

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tree"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/": "usr/bin", "./usr": "usr", "usr//lib/.": "usr/lib", "/": ".", "": ".",
	} {
		got, err := tree.Clean(in)
		require.NoError(t, err)
		assert.Equal(t, want, got, in)
	}
	for in, want := range map[string]string{
		"../etc": `path "../etc": leaves the root`, "usr/../../x": `path "usr/../../x": leaves the root`,
		"a\x00b": `path "a\x00b": holds a NUL byte`,
	} {
		_, err := tree.Clean(in)
		assert.EqualError(t, err, want)
	}
}

func TestSetMakesParentsAndRefusesFilesAsParents(t *testing.T) {
	tr := tree.New()
	file := &tree.Node{Type: tree.File, Mode: 0o644, MTime: 7, Origin: "package a", Blob: tree.Bytes([]byte("x"))}
	require.NoError(t, tr.Set("usr/lib/a", file))
	assert.Equal(t, []string{".", "usr", "usr/lib", "usr/lib/a"}, tr.Paths())
	assert.Equal(t, &tree.Node{Type: tree.Dir, Mode: 0o755, MTime: 7, Origin: "package a"}, tr.Lookup("usr/lib"))
	err := tr.Set("usr/lib/a/b", &tree.Node{Type: tree.Dir})
	assert.EqualError(t, err, "path /usr/lib/a/b: /usr/lib/a is a file of package a, not a directory")
}

func TestRootComesFirst(t *testing.T) {
	tr := tree.New()
	for _, p := range []string{"+x", "-y", "a/b", "a-b", "a"} {
		require.NoError(t, tr.Set(p, &tree.Node{Type: tree.Dir}))
	}
	assert.Equal(t, []string{".", "+x", "-y", "a", "a-b", "a/b"}, tr.Paths())
}

func TestRemoveAndSub(t *testing.T) {
	tr := tree.New()
	for _, p := range []string{"usr/lib/a", "usr/lib/b/c", "usr/library", "etc/x"} {
		require.NoError(t, tr.Set(p, &tree.Node{Type: tree.File}))
	}
	sub := tr.Sub("usr")
	assert.Equal(t, []string{".", "lib", "lib/a", "lib/b", "lib/b/c", "library"}, sub.Paths())
	assert.Equal(t, 4, tr.Remove("usr/lib"))
	assert.Equal(t, []string{".", "etc", "etc/x", "usr", "usr/library"}, tr.Paths())
	assert.Zero(t, tr.Remove("usr/lib"))
}

func TestPiecesReadAsOne(t *testing.T) {
	image := "....ello wo....H...rld"
	p := tree.NewPieces(strings.NewReader(image),
		tree.Piece{Offset: 15, Size: 1}, tree.Piece{Offset: 4, Size: 7}, tree.Piece{Offset: 19, Size: 3})
	const want = "Hello world"
	assert.EqualValues(t, len(want), p.Size())
	assert.Equal(t, sha256.Sum256([]byte(want)), p.SHA256())
	data, err := tree.ReadAll(p)
	require.NoError(t, err)
	assert.Equal(t, want, string(data))
	require.NoError(t, iotest.TestReader(io.NewSectionReader(p, 0, p.Size()), []byte(want)))

	cut := tree.NewPieces(strings.NewReader("abc"), tree.Piece{Offset: 1, Size: 5})
	_, err = tree.ReadAll(cut)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Zero(t, cut.SHA256())
}

func TestReadAllChecksTheDigest(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(name, []byte("rotten"), 0o644))
	_, err := tree.ReadAll(tree.Stored(name, 6, sha256.Sum256([]byte("fresh!"))))
	var damaged *tree.DigestError
	assert.ErrorAs(t, err, &damaged)
	data, err := tree.ReadAll(tree.Stored(name, 6, sha256.Sum256([]byte("rotten"))))
	require.NoError(t, err)
	assert.Equal(t, "rotten", string(data))
}
