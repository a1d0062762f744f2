package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/host"
)

// TestMain lets the test binary be the program: under a link named as one of
// the programs, or with HOST set.
func TestMain(m *testing.M) {
	if os.Getenv("HOST") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestCalledByNameAndByArgument(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "cgpt")
	require.NoError(t, os.Symlink(self, link))
	for _, argv := range [][]string{{link, "show", "-h"}, {self, "cgpt", "show", "-h"}} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "HOST=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "\nUsage: cgpt show [OPTIONS] DRIVE\n")
	}
	cmd := exec.Command(self, "nothing")
	cmd.Env = append(os.Environ(), "HOST=1")
	out, err := cmd.CombinedOutput()
	assert.EqualError(t, err, "exit status 2")
	assert.Equal(t, "usage: slipway-host NAME ARGS\nprograms: "+strings.Join(host.Names(), " ")+"\n", string(out))
}
