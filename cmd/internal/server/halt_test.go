package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
)

// A release that breaks machines stops by itself: the mass reboot that took a
// broken version everywhere does not get that far.
func TestHaltAfterFailures(t *testing.T) {
	s := newSite(t)
	s.rules("alpha: {halt-after: 3}\n")
	s.reload()
	for i := range 3 {
		id := fmt.Sprint("bad-", i)
		require.Equal(t, "1.0.0", s.offered(machine(id, "0.1.0")), id)
		s.ask(failed(id, "0.1.0", 9)) // a network that breaks off is no failure of the version
		s.ask(failed(id, "0.1.0", 44))
		s.ask(failed(id, "0.1.0", 44)) // one machine counts once
	}
	assert.Empty(t, s.offered(machine("good", "0.1.0")))
	s.restart()
	assert.Empty(t, s.offered(machine("good", "0.1.0")), "after a restart too")

	_, page := s.get(s.http.URL + "/")
	assert.Contains(t, page, "<td>halted: 3 of 3 machines failed</td>")
	_, text := s.get(s.http.URL + server.MetricsPath)
	assert.Contains(t, text, `slipway_rollout_halted{channel="alpha",version="1.0.0"} 1`+"\n")
	assert.Contains(t, text, `slipway_rollout_failed{channel="alpha",version="1.0.0"} 3`+"\n")

	s.ask(machine("bad-0", "1.0.0"))
	assert.Empty(t, s.offered(machine("good", "0.1.0")), "a person lifts it, not a machine that mends")
	s.rules("alpha: {halt-after: 3, resume: 1.0.0}\n")
	s.reload()
	assert.Equal(t, "1.0.0", s.offered(machine("good", "0.1.0")))
	s.rules("alpha: {halt-after: 3}\n")
	s.reload()
	assert.Empty(t, s.offered(machine("good", "0.1.0")))
	s.release("alpha", "1.0.1", "mended", nil)
	s.reload()
	assert.Equal(t, "1.0.1", s.offered(machine("good", "0.1.0")), "another version is another chance")
}

func TestHaltAfterPercentage(t *testing.T) {
	s := newSite(t)
	s.rules("alpha: {halt-after: 10%}\n")
	s.reload()
	for i := range 27 {
		s.ask(machine(fmt.Sprint("good-", i), "1.0.0"))
	}
	for i, want := range []string{"1.0.0", "1.0.0", ""} { // 1 of 28, 2 of 29, 3 of 30
		id := fmt.Sprint("bad-", i)
		s.offered(machine(id, "0.1.0"))
		s.ask(failed(id, "0.1.0", 44))
		assert.Equal(t, want, s.offered(machine("next", "0.1.0")), "after %d", i+1)
	}
	s.rules("alpha: {halt-after: 50%}\n")
	s.reload()
	assert.Empty(t, s.offered(machine("next", "0.1.0")), "a halt stays")
	require.NoError(t, os.Remove(filepath.Join(s.dir, "rollout.yaml")))
	s.reload()
	assert.Equal(t, "1.0.0", s.offered(machine("next", "0.1.0")), "but not without the rule")
}

// One machine that fails may be broken itself, whatever part of the fleet it
// is; and a rule that comes late looks at what there is.
func TestHaltNeedsTwo(t *testing.T) {
	s := newSite(t)
	for _, id := range []string{"a", "b"} {
		s.offered(machine(id, "0.1.0"))
	}
	s.ask(failed("a", "0.1.0", 44))
	s.rules("alpha: {halt-after: 1%}\n")
	s.reload()
	assert.Equal(t, "1.0.0", s.offered(machine("c", "0.1.0")))
	s.ask(failed("b", "0.1.0", 44))
	assert.Empty(t, s.offered(machine("c", "0.1.0")))
}

func TestBadLimits(t *testing.T) {
	s := newSite(t)
	for _, limit := range []string{"0", "-1", "0%", "101%", "x", "1.5", "%", "[1]"} {
		s.rules("alpha: {halt-after: " + limit + "}\n")
		_, err := s.s.Reload()
		assert.ErrorContains(t, err, "rollout.yaml: ", limit)
	}
	s.rules("alpha: {resume: soon}\n")
	_, err := s.s.Reload()
	assert.EqualError(t, err, `rollout.yaml: alpha: resume "soon": not MAJOR.MINOR.PATCH`)
}
