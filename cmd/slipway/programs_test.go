package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// agentModule is a Go program of the test overlay's own, in overlays/base/agent.
const agentModule = "programs: {usr/bin/agent: {module: agent, package: m/agent}}\n"

// A lock holds the Go programs that overlays name; other ones are refused.
func TestLockHoldsPrograms(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	p.overlay("packages: [tool]\n" + agentModule)
	p.write("overlays/base/agent/go.mod", "module m\n")
	p.write("overlays/base/agent/go.sum", "")
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	text, err := os.ReadFile("packages.lock")
	require.NoError(t, err)
	assert.Contains(t, string(text), "programs:\n- path: \"usr/bin/agent\"\n  package: \"m/agent\"\n  sources: ")
	status, stdout, stderr := run(t, "lock", "--check")
	require.Equal(t, 0, status, stdout+stderr)

	p.write("overlays/base/agent/main.go", "package main\n")
	status, stdout, stderr = run(t, "lock", "--check")
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, "changed /usr/bin/agent: sources ")
	assert.Contains(t, stderr, "packages.lock: 1 Go programs differ from the overlays\n")
	status, _, stderr = run(t, "build", "--lock", "packages.lock")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "packages.lock: the overlays name other Go programs than the lock: changed /usr/bin/agent")
	assert.Contains(t, stderr, "hint: slipway lock writes a new lock\n")
}

// Etcd is compiled, or Debian's with one more layer.
func TestEtcdOrDebians(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a Debian mirror")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	t.Chdir(root)
	for layer, debians := range map[string]bool{"": false, "overlays/etcd-debian": true} {
		name := filepath.Join(t.TempDir(), "packages.lock")
		args := []string{"lock", "--file", name}
		if debians {
			args = append(args, "--overlay", layer)
		}
		status, _, stderr := run(t, args...)
		require.Equal(t, 0, status, stderr)
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, own := range []string{"path: \"usr/bin/etcd\"\n", "path: \"usr/bin/etcdctl\"\n"} {
			assert.Equal(t, !debians, strings.Contains(string(text), own), own)
		}
		for _, pkg := range []string{"- name: etcd-server\n", "- name: etcd-client\n"} {
			assert.Equal(t, debians, strings.Contains(string(text), pkg), pkg)
		}
	}
}
