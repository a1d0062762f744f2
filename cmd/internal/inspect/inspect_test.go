package inspect_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tree"
	"slipway/cmd/internal/inspect"
)

func usr(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	set := func(p string, n *tree.Node) { require.NoError(t, tr.Set(p, n)) }
	link := func(p, target string) { set(p, &tree.Node{Type: tree.Symlink, Mode: 0o777, Target: target}) }
	set("bin/bash", &tree.Node{Type: tree.File, Mode: 0o755, Blob: tree.Bytes([]byte("elf"))})
	set("bin/sudo", &tree.Node{Type: tree.File, Mode: 0o4755, Blob: tree.Bytes(nil)})
	set("lib/os-release", &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes([]byte("ID=x\n"))})
	link("share/slipway/etc/os-release", "../usr/lib/os-release")
	link("bin/sh", "bash")
	link("lib/root", "/bin/sh")
	link("lib/loop", "loop")
	link("lib/out", "../../../etc/os-release")
	return tr
}

func TestFindSeesWhatAMachineSees(t *testing.T) {
	tr := usr(t)
	for name, want := range map[string]string{
		"/usr/bin/bash": "bin/bash", "bin/sh": "bin/bash", "/etc/os-release": "lib/os-release",
		"/lib/root": "bin/bash", "/usr/lib/out": "lib/os-release", "/": ".", "/usr": ".",
		"/etc": "share/slipway/etc",
	} {
		p, n, err := inspect.Find(tr, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, p, name)
		assert.NotNil(t, n, name)
	}
	for name, want := range map[string]string{
		"/usr/bin/no": "/usr/bin/no: not in the slot", "/home/x": "/home: not in the slot",
		"/usr/lib/loop": "/usr/lib/loop: too many symlinks", "../x": `path "../x": leaves the root`,
	} {
		_, _, err := inspect.Find(tr, name)
		assert.EqualError(t, err, want)
	}
}

func TestListShowsModes(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, inspect.List(&out, usr(t), "bin"))
	assert.Equal(t, []string{
		"-rwxr-xr-x     0     0          3 1970-01-01 00:00:00 bash",
		"lrwxrwxrwx     0     0          0 1970-01-01 00:00:00 sh -> bash",
		"-rwsr-xr-x     0     0          0 1970-01-01 00:00:00 sudo",
	}, strings.Split(strings.TrimSpace(out.String()), "\n"))
}

func TestOpenRefusesNoise(t *testing.T) {
	noise := strings.Repeat("noise", 10000)
	_, err := inspect.Open(strings.NewReader(noise), int64(len(noise)), nil)
	assert.ErrorIs(t, err, inspect.ErrUnknown)
	_, err = inspect.Open(strings.NewReader(""), 0, nil)
	assert.ErrorIs(t, err, inspect.ErrUnknown)
}
