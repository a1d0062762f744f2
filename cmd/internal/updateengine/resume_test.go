package updateengine_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/updatebus"
)

// breaking serves n bytes of what is asked for and breaks the connection.
func (m *machine) breaking(n int) {
	m.serve = func(w http.ResponseWriter, r *http.Request, content []byte) {
		http.ServeContent(&short{ResponseWriter: w, left: n}, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// whole serves everything, ranges included.
func (m *machine) whole(w http.ResponseWriter, r *http.Request, content []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		_, _ = s.ResponseWriter.Write(p[:s.left])
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

// A download that breaks goes on where it stopped, also after the engine was
// restarted, and little is fetched twice.
func TestResume(t *testing.T) {
	m := newMachine(t)
	content := m.full(newVersion)
	m.offering(&update{version: newVersion, content: content})
	first := true
	m.serve = func(w http.ResponseWriter, r *http.Request, content []byte) {
		if !first {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		first = false
		http.ServeContent(&short{w, 2_500_000}, r, "", time.Time{}, bytes.NewReader(content))
	}
	assert.Contains(t, m.attempt(false), "given up after 3 failures: ")
	assert.Contains(t, m.events(), "3/0 code 37")
	assert.Equal(t, untouched, m.table())

	m.restart()
	m.serve = m.whole
	assert.Regexp(t, `update to 4889.0.0: going on at \d{7} of `, m.attempt(false))
	assert.Equal(t, ready, m.table())
	assert.Less(t, float64(m.served), 1.05*float64(len(content)))
	assert.NoFileExists(t, m.path("var/lib/update_engine/checkpoint.json"))
}

// What the other slot holds decides, not what was noted about it.
func TestResumeAfterSlotWasChanged(t *testing.T) {
	m := newMachine(t)
	content := m.full(newVersion)
	m.offering(&update{version: newVersion, content: content})
	m.breaking(2_000_000)
	m.serve = onlyOnce(m.serve)
	m.attempt(false)
	m.serve = m.whole
	slot, err := os.ReadFile(m.path("dev/vda4"))
	require.NoError(t, err)
	slot[300_000] ^= 1 // a write that the disk lost
	m.file("dev/vda4", slot)
	said := m.attempt(false)
	assert.Contains(t, said, "or writes were lost before this run resumed; from the beginning")
	assert.Equal(t, ready, m.table())

	// Somebody made the slot startable: what is in it is not ours any more.
	m = newMachine(t)
	m.offering(&update{version: newVersion, content: content})
	m.breaking(2_000_000)
	m.serve = onlyOnce(m.serve)
	m.attempt(false)
	m.serve = m.whole
	m.set(partB, 0, 0, true)
	assert.Contains(t, m.attempt(false), "the slot was changed by somebody else; from the beginning")
	assert.Equal(t, ready, m.table())
}

// onlyOnce is a server that is gone after the first request.
func onlyOnce(serve func(http.ResponseWriter, *http.Request, []byte)) func(http.ResponseWriter, *http.Request, []byte) {
	first := true
	return func(w http.ResponseWriter, r *http.Request, content []byte) {
		if !first {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		first = false
		serve(w, r, content)
	}
}

// However often an update is cut, and wherever, it ends right, and no state in
// between can start the new version.
func TestCutAnywhere(t *testing.T) {
	cuts := 200
	if testing.Short() {
		cuts = 20
	}
	random := rand.New(rand.NewPCG(1, 2))
	m := newMachine(t)
	content := m.full(newVersion)
	for cuts > 0 {
		m.offering(&update{version: newVersion, content: content})
		for m.engine.Status().Operation != updatebus.NeedReboot {
			require.Equal(t, untouched, m.table())
			ctx, cancel := context.WithCancel(t.Context())
			after := random.IntN(len(content))
			m.serve = func(w http.ResponseWriter, r *http.Request, content []byte) {
				m.whole(&cutter{ResponseWriter: w, left: after, cancel: cancel}, r, content)
			}
			cuts--
			_ = m.engine.Attempt(ctx, true)
			cancel()
			m.restart()
		}
		assert.Equal(t, ready, m.table())
		slot, err := os.ReadFile(m.path("dev/vda4"))
		require.NoError(t, err)
		assert.Equal(t, m.slot(newVersion), slot)
		require.NoError(t, m.engine.ResetStatus())
	}
}

// cutter ends the engine after some bytes.
type cutter struct {
	http.ResponseWriter
	left   int
	cancel func()
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		c.cancel()
	}
	return c.ResponseWriter.Write(p)
}

// A machine without room for its state updates all the same.
func TestStateNotKept(t *testing.T) {
	m := newMachine(t)
	m.file("var/lib", nil) // in the way of the directory
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	said := m.attempt(false)
	assert.Contains(t, said, "checkpoint not kept: ")
	assert.Contains(t, said, "state not kept: ")
	assert.Equal(t, ready, m.table())
}

func TestStateMakesNoSense(t *testing.T) {
	m := newMachine(t)
	m.file("var/lib/update_engine/state.json", []byte("\x00\x00"))
	m.file("var/lib/update_engine/checkpoint.json", []byte(`{"payload": 7`))
	m.log.Reset()
	m.restart()
	assert.Contains(t, m.log.String(), "state /var/lib/update_engine/state.json: ")
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	assert.Equal(t, ready, m.table())
}

// A server that is away hears of everything later.
func TestEventsWait(t *testing.T) {
	m := newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	handler := m.server.Config.Handler
	m.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && len(m.statuses) > 2 {
			http.Error(w, "overloaded", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	})
	assert.Contains(t, m.attempt(false), "not told the server of update complete, success: update server: 503 Service Unavailable")
	assert.Equal(t, ready, m.table())
	m.server.Config.Handler = handler
	m.restart()
	m.attempt(false)
	assert.Equal(t, []string{"3/1"}, m.events())
	m.attempt(false)
	assert.Empty(t, m.events())
}
