package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/durable"
)

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "state.json")
	for _, text := range []string{"one", "another"} {
		require.NoError(t, durable.WriteFile(name, []byte(text)))
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, text, string(got))
	}
	info, err := os.Stat(name)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode())
	entries, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing else is left")

	require.NoError(t, os.Mkdir(name+"x", 0o755))
	assert.Error(t, durable.WriteFile(name+"x", nil), "a directory has the name")
	assert.DirExists(t, name+"x")
}
