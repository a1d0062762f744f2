package unpack_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
	"slipway/build/unpack"
)

// index unpacks a package and gives the bytes of its index.
func index(t testing.TB, file []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	c, err := unpack.Open(dir)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Package(t.Context(), request(file))
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256(file)), "tree"))
	require.NoError(t, err)
	return b
}

func TestIndexRoundTrip(t *testing.T) {
	b := index(t, sample(t))
	again, err := unpack.DecodeIndex(b)
	require.NoError(t, err)
	assert.Equal(t, b, again)
	assert.Equal(t, b, index(t, sample(t)), "unpacking is deterministic")
}

// TestIndexCut cuts the body at every length: always an error, never a panic.
func TestIndexCut(t *testing.T) {
	body := index(t, sample(t))[unpack.IndexHeadSize:]
	require.NoError(t, unpack.DecodeBody(body))
	for n := range body {
		assert.Error(t, unpack.DecodeBody(body[:n]), n)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(index(f, debtest.Make(f, debtest.Package{Name: "a", Files: []debtest.File{
		{Path: "./"}, {Path: "a", Content: "x"}, {Path: "b", Type: '1', Link: "a"}, {Path: "c", Link: "a"},
		{Path: "d/", Xattrs: map[string]string{"user.a": "b"}}, {Path: "e", Type: '3', Major: 4},
	}}))[unpack.IndexHeadSize:])
	f.Fuzz(func(t *testing.T, body []byte) { _ = unpack.DecodeBody(body) })
}
