package etcdtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// Etcdctl runs etcdctl against all members and gives what it prints, without
// the last line break. The test fails if the command does.
func (c *Cluster) Etcdctl(args ...string) string {
	c.t.Helper()
	return c.must(c.TryEtcdctl(args...))
}

// TryEtcdctl is Etcdctl for commands that may fail.
func (c *Cluster) TryEtcdctl(args ...string) (string, error) {
	return c.runEtcdctl(c.Endpoints(), args)
}

// Etcdctl runs etcdctl against this member alone.
func (m *Member) Etcdctl(args ...string) string {
	m.c.t.Helper()
	return m.c.must(m.TryEtcdctl(args...))
}

// TryEtcdctl is Etcdctl for commands that may fail.
func (m *Member) TryEtcdctl(args ...string) (string, error) {
	return m.c.runEtcdctl([]string{m.Endpoint}, args)
}

func (c *Cluster) must(out string, err error) string {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// V2 has etcdctl speak the v2 API.
func (m *Member) V2(args ...string) string {
	m.c.t.Helper()
	cmd := exec.CommandContext(m.c.t.Context(), m.c.etcdctl, append([]string{"--endpoints", m.Endpoint}, args...)...)
	cmd.Env = []string{"PATH=/nonexistent", "ETCDCTL_API=2"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.c.t.Fatalf("etcdctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (c *Cluster) runEtcdctl(endpoints, args []string) (string, error) {
	args = append([]string{"--endpoints", strings.Join(endpoints, ",")}, args...)
	cmd := exec.CommandContext(c.t.Context(), c.etcdctl, args...)
	// No ETCDCTL_ variable of the host.
	cmd.Env = append([]string{"PATH=/nonexistent"}, c.environment(memberName(0), "etcdctl.env")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("etcdctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}
