package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/server"
	"slipway/signing/omaha"
)

// failed is a machine that reports an error.
func failed(id, version string, code int) *omaha.App {
	app := machine(id, version)
	app.Events = event(omaha.EventUpdateComplete, omaha.ResultError, code)
	return app
}

func TestWhichVersionFailed(t *testing.T) {
	for _, c := range []struct{ name, target, previous, want string }{
		{"the one offered", "1.0.0", "", "1.0.0"},
		{"CoreOS names the running one", "1.0.0", "0.1.0", "1.0.0"},
		{"the machine knows better", "1.0.1", "1.0.0", "1.0.0"},
		{"an older one is not it", "1.0.0", "0.0.9", "1.0.0"},
		{"nonsense", "1.0.0", "<b>", "1.0.0"},
		{"the server has forgotten", "", "1.0.0", "1.0.0"},
		{"nobody knows", "", "0.1.0", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			if c.target != "" {
				s.release("alpha", c.target, "full", nil)
				s.reload()
				require.Equal(t, c.target, s.offered(machine("a", "0.1.0")))
			}
			app := failed("a", "0.1.0", 44)
			app.Events[0].PreviousVersion = c.previous
			s.ask(app)
			m := s.s.Machine("a")
			assert.Equal(t, c.want, m.FailedVersion)
			assert.Equal(t, 1, m.FailedTimes)
			assert.Equal(t, 44, m.ErrorCode)
			if c.want == "" {
				assert.Empty(t, s.offered(machine("a", "0.1.0")), "it may be this one")
			}
		})
	}
}

// Errors that say nothing against a version do not keep a machine from it.
func TestErrorsThatPass(t *testing.T) {
	for code, again := range map[int]string{
		7: "1.0.0", 9: "1.0.0", 37: "1.0.0", 40: "1.0.0", 2404: "1.0.0", 2503 | 1<<30: "1.0.0",
		0: "", 10: "", 12: "", 44: "", 44 | 1<<31: "",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := newSite(t)
			s.offered(machine("a", "0.1.0"))
			app := failed("a", "0.1.0", code)
			app.UpdateCheck = nil
			s.ask(app)
			assert.Equal(t, server.Failed, s.s.Machine("a").State)
			assert.Equal(t, again, s.offered(machine("a", "0.1.0")))
		})
	}
}

// A machine gets the full payload after the delta failed on it, and waits after
// that failed too.
func TestFullPayloadAfterDelta(t *testing.T) {
	s := newSite(t)
	s.release("alpha", "2.0.0", "full", map[string]string{"1.0.0": "delta"})
	s.reload()
	require.True(t, s.ask(machine("a", "1.0.0")).Manifests[0].Actions[0].IsDelta)
	check := s.ask(failed("a", "1.0.0", 29))
	require.Equal(t, omaha.StatusOK, check.Status)
	assert.False(t, check.Manifests[0].Actions[0].IsDelta)
	assert.Zero(t, s.s.Machine("a").FailedTimes)
	assert.Empty(t, s.offered(failed("a", "1.0.0", 12)))
	assert.Equal(t, "2.0.0", s.offered(machine("b", "1.0.0")))
	s.ask(failed("b", "1.0.0", 44))
	assert.Empty(t, s.offered(machine("b", "1.0.0")), "what was started and failed is no matter of the payload")
}

func TestMachineThatWorksIsForgiven(t *testing.T) {
	s := newSite(t)
	s.offered(machine("a", "0.1.0"))
	s.ask(failed("a", "0.1.0", 44))
	s.ask(machine("a", "1.0.0"))
	m := s.s.Machine("a")
	assert.Zero(t, m.FailedTimes)
	assert.Empty(t, m.FailedVersion)
	assert.Equal(t, server.Idle, m.State)
}

func TestMachinesAreForgotten(t *testing.T) {
	s := newSite(t)
	s.ask(machine("a", "0.1.0"))
	s.now = s.now.Add(50 * 24 * time.Hour)
	s.ask(machine("b", "0.1.0"))
	s.now = s.now.Add(50 * 24 * time.Hour)
	require.NoError(t, s.s.Sweep())
	assert.Nil(t, s.s.Machine("a"))
	s.restart()
	assert.Nil(t, s.s.Machine("a"))
	assert.NotNil(t, s.s.Machine("b"))
}

func TestManyAppsInOneRequest(t *testing.T) {
	s := newSite(t)
	q := &omaha.Request{Protocol: omaha.Protocol}
	for i := range 17 {
		q.Apps = append(q.Apps, machine(fmt.Sprint(i), "0.1.0"))
	}
	status, text := s.post(q)
	assert.Equal(t, 400, status)
	assert.Equal(t, "omaha request: 17 apps, want at most 16\n", text)
	assert.Nil(t, s.s.Machine("0"))
	q.Apps = q.Apps[:16]
	status, _ = s.post(q)
	assert.Equal(t, 200, status)
	assert.NotNil(t, s.s.Machine("15"))
}
