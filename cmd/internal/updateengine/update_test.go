package updateengine_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateengine"
	"slipway/signing/footer"
	"slipway/signing/keyset"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// offering has the server offer one thing to whoever does not run it.
func (m *machine) offering(u *update) {
	m.offers = func(app *omaha.App) *update {
		if app.Version == u.version {
			return nil
		}
		return u
	}
}

const (
	untouched = "USR-A priority=1 tries=0 successful=1\nUSR-B priority=0 tries=0 successful=0"
	ready     = "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=2 successful=0"
)

func TestUpdate(t *testing.T) {
	m := newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	said := m.attempt(false)
	assert.Contains(t, said, "update to 4889.0.0: full payload of 4198")
	assert.Regexp(t, `update to 4889.0.0: in USR-B after \S+, verified; a restart starts it`, said)
	assert.Equal(t, ready, m.table())
	slot, err := os.ReadFile(m.path("dev/vda4"))
	require.NoError(t, err)
	assert.Equal(t, m.slot(newVersion), slot)
	assert.Equal(t, []string{"13/1", "14/1", "3/1"}, m.events())
	assert.Equal(t, []string{
		"CHECKING_FOR_UPDATE", "UPDATE_AVAILABLE", "DOWNLOADING", "FINALIZING", "UPDATED_NEED_REBOOT",
	}, m.operations())
	assert.Equal(t, newVersion, m.engine.Status().NewVersion)

	app := m.requests[0]
	assert.Equal(t, "alpha", app.Track)
	assert.Equal(t, "amd64-usr", app.Board)
	assert.Equal(t, "0123456789abcdef0123456789abcdef", app.MachineID)
	assert.Equal(t, "{boot-1}", app.BootID)
	assert.Equal(t, "qemu 0.0.1", app.OEM+" "+app.OEMVersion)
	assert.True(t, app.DeltaOK)

	// The engine may be restarted; it still waits for the reboot, and does not
	// fetch the version again.
	m.restart()
	assert.Equal(t, updatebus.NeedReboot, m.engine.Status().Operation)
	m.served = 0
	m.attempt(false)
	assert.Equal(t, updatebus.NeedReboot, m.engine.Status().Operation)
	assert.Zero(t, m.served)
	assert.Equal(t, ready, m.table())

	// The new version runs: while it is on trial nothing is replaced.
	m.set(partB, 2, 1, false)
	m.boot(partB)
	assert.Contains(t, m.attempt(false), "the running version is on trial")
	assert.Empty(t, m.requests)
	assert.ErrorContains(t, m.engine.AttemptUpdate(), "on trial")

	m.set(partB, 2, 0, true)
	assert.Contains(t, m.attempt(false), "version 4889.0.0 has taken the place of 4888.0.0")
	assert.Equal(t, []string{"3/2 from 4888.0.0"}, m.events())
	assert.Equal(t, "4888.0.0", m.requests[0].AlephVersion)
	m.attempt(false)
	assert.Empty(t, m.events(), "told once")
	assert.Equal(t, updatebus.Idle, m.engine.Status().Operation)
}

// A version that did not stay is reported, and not tried again for a day.
func TestRollback(t *testing.T) {
	m := newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	m.set(partB, 2, 0, false)
	m.boot(partA) // again
	m.served = 0
	said := m.attempt(false)
	assert.Contains(t, said, "version 4889.0.0 was started and did not stay: not again before 2026-11-22T08:")
	assert.Contains(t, said, "version 4889.0.0 was started here 1 times and did not stay; not again before")
	assert.Equal(t, []string{"3/0 code 44 from 4889.0.0"}, m.events())
	assert.Zero(t, m.served, "the payload is known")
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=2 tries=0 successful=0", m.table())

	m.clock = m.clock.Add(25 * time.Hour)
	m.attempt(false)
	assert.Equal(t, ready, m.table(), "a day later")
	m.set(partB, 2, 0, false)
	m.boot(partA)
	m.clock = m.clock.Add(25 * time.Hour)
	assert.Contains(t, m.attempt(false), "started here 2 times", "two days then")
	m.attempt(true)
	assert.Equal(t, ready, m.table(), "whoever asks for it gets it")

	m.set(partB, 2, 0, false)
	m.boot(partA)
	m.offering(&update{version: "4890.0.0", content: m.full("4890.0.0")})
	m.attempt(false)
	assert.Equal(t, ready, m.table(), "another version may do better")
}

// A delta that cannot be applied is followed by the full payload, at once; after
// three no more deltas are asked for.
func TestDelta(t *testing.T) {
	m := newMachine(t)
	i := info(newVersion)
	i.SourceVersion, i.SourceRootHash = oldVersion, hash(oldVersion)
	good := m.payloadOf(m.slot(newVersion), i)
	full := m.full(newVersion)
	content := good
	m.offers = func(app *omaha.App) *update {
		if app.DeltaOK {
			return &update{version: newVersion, content: content, delta: true}
		}
		return &update{version: newVersion, content: full}
	}
	m.attempt(false)
	assert.Equal(t, ready, m.table())
	assert.Less(t, m.served, len(full)*6/10)

	// The running slot is not quite what the delta was made for.
	m = newMachine(t)
	changed := m.slot(oldVersion)
	changed[100_000]++
	m.file("dev/vda3", changed)
	m.offers = func(app *omaha.App) *update {
		if app.DeltaOK {
			return &update{version: newVersion, content: good, delta: true}
		}
		return &update{version: newVersion, content: full}
	}
	for n := range 4 {
		said := m.attempt(true)
		assert.Equal(t, ready, m.table())
		if n < 3 {
			assert.Contains(t, said, "delta to 4889.0.0: payload operation 1 (SOURCE_COPY): "+
				"the source is not what the payload was made for; taking the full payload")
			assert.Equal(t, []string{"13/1", "3/0 code 28", "13/1", "14/1", "3/1"}, m.events())
		}
		require.NoError(t, m.engine.ResetStatus())
		assert.Equal(t, untouched, m.table())
		m.engine.StateOf().DeltaFailures = n + 1 // a success forgives; here none does
	}
	assert.False(t, m.requests[0].DeltaOK)
}

// What must not be installed is not, whoever offers it: the slot cannot be
// started, and the server learns why. The attacks are those of TUF's list
// (theupdateframework.io/security), as far as one machine can see them.
func TestRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		make  func(m *machine) *update
		lines string
		code  string
		said  string
	}{
		"tampered data": {
			make: func(m *machine) *update {
				content := m.full(newVersion)
				content[len(content)/2] ^= 1
				return &update{version: newVersion, content: content}
			},
			code: "28", said: "is not what was signed",
		},
		"tampered manifest": {
			make: func(m *machine) *update {
				content := m.full(newVersion)
				content[100] ^= 1
				return &update{version: newVersion, content: content}
			},
			code: "26", said: "payload metadata: bad signature by ",
		},
		"another key": {
			make: func(m *machine) *update {
				other, _ := newSigner(m.t, 2)
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), info(newVersion), other)}
			},
			code: "18", said: "payload metadata: not signed by a known key",
		},
		"an expired key": {
			make: func(m *machine) *update {
				old, k := newSigner(m.t, 3)
				m.keysWith(func(e *keyset.Entry) {
					if e.ID == k.ID {
						past := m.clock.Add(-time.Hour)
						e.NotAfter = &past
					}
				}, k)
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), info(newVersion), old)}
			},
			code: "26", said: ", which is expired at 2026-11-21T0",
		},
		"a retired key": {
			make: func(m *machine) *update {
				old, k := newSigner(m.t, 3)
				m.keysWith(func(e *keyset.Entry) { e.Retired = e.ID == k.ID }, k)
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), info(newVersion), old)}
			},
			code: "26", said: ", which is retired",
		},
		"a key for other things": {
			make: func(m *machine) *update {
				other, k := newSigner(m.t, 3)
				m.keysWith(func(e *keyset.Entry) {
					if e.ID == k.ID {
						e.Roles = []keyset.Role{keyset.Image}
					}
				}, k)
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), info(newVersion), other)}
			},
			code: "18", said: "payload metadata: not signed by a known key",
		},
		"older": {
			make: func(m *machine) *update { return &update{version: "4887.0.0", content: m.full("4887.0.0")} },
			code: "35", said: "payload: version 4887.0.0 is older than 4888.0.0, which runs",
		},
		"another architecture": {
			make: func(m *machine) *update {
				i := info(newVersion)
				i.Architecture = "arm64"
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), i)}
			},
			code: "35", said: `payload: for "arm64", this machine is "amd64"`,
		},
		"another system": {
			make: func(m *machine) *update {
				i := info(newVersion)
				i.Name = "other"
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), i)}
			},
			code: "35", said: `payload: of "other", this machine runs "slipway"`,
		},
		"development key": {
			make: func(m *machine) *update {
				i := info(newVersion)
				i.Development = true
				return &update{version: newVersion, content: m.payloadOf(m.slot(newVersion), i)}
			},
			code: "35", said: "is signed with a development key",
		},
		"not the version offered": {
			make: func(m *machine) *update { return &update{version: "4999.0.0", content: m.full(newVersion)} },
			code: "35", said: "payload: of version 4889.0.0, the server said 4999.0.0",
		},
		"longer than announced": {
			make: func(m *machine) *update {
				return &update{version: newVersion, content: m.full(newVersion), size: 4_000_000}
			},
			code: "11", said: "bytes, should be 4000000",
		},
		"cut short": {
			make: func(m *machine) *update {
				content := m.full(newVersion)
				return &update{version: newVersion, content: content[:1_000_000], size: len64(content)}
			},
			code: "11", said: "1000000 bytes, should be ",
		},
		"a slot that nobody signed": {
			make: func(m *machine) *update {
				slot := m.slot(newVersion)
				slot[slotSize-footer.Size+200] ^= 1
				return &update{version: newVersion, content: m.payloadOf(slot, info(newVersion))}
			},
			code: "7", said: "USR-B: slot footer: bad signature by ",
		},
		"a slot of another version": {
			make: func(m *machine) *update {
				return &update{version: newVersion, content: m.payloadOf(m.slot("4890.0.0"), info(newVersion))}
			},
			code: "7", said: "USR-B: slot footer: holds version 4890.0.0",
		},
		"not there": {
			make: func(m *machine) *update {
				m.serve = func(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) }
				return &update{version: newVersion, content: m.full(newVersion)}
			},
			code: "37", said: "404 Not Found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.config(tt.lines)
			m.offering(tt.make(m))
			said := m.attempt(false)
			assert.Contains(t, said, tt.said)
			assert.Contains(t, m.events(), "3/0 code "+tt.code)
			assert.Equal(t, untouched, m.table())
			assert.Equal(t, updatebus.Idle, m.engine.Status().Operation)
			assert.Contains(t, m.operations(), "REPORTING_ERROR_EVENT")
			for line := range strings.Lines(said) {
				assert.Less(t, len(line), 400, line)
			}
		})
	}
}

func len64(b []byte) int64 { return int64(len(b)) }

// A server that has had nothing for too long keeps something from the machine,
// or sleeps; the machine knows how old what it runs is.
func TestFreeze(t *testing.T) {
	m := newMachine(t)
	m.config("UPDATE_MAX_AGE=48h\n")
	assert.NotContains(t, m.attempt(false), "nothing newer")
	m.clock = m.clock.Add(36 * time.Hour)
	assert.Contains(t, m.attempt(false), "nothing newer than 4888.0.0 of 2026-11-20 for 60h0m0s: "+
		"the channel sleeps, or somebody keeps updates from this machine")
}

// A payload that could not be applied is left alone for a day.
func TestBrokenPayload(t *testing.T) {
	m := newMachine(t)
	content := m.full(newVersion)
	content[len(content)/2] ^= 1
	m.offering(&update{version: newVersion, content: content})
	m.attempt(false)
	m.served = 0
	assert.Contains(t, m.attempt(false), "its payload could not be applied 1 times; not again before 2026-11-22T08:")
	assert.Zero(t, m.served)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	assert.Equal(t, ready, m.table(), "the server has a good one now")
}

// The floor of a version that has proven itself outlasts it.
func TestFloor(t *testing.T) {
	m := newMachine(t)
	m.config("ALLOW_DOWNGRADE=yes\n")
	m.offering(&update{version: "4887.0.0", content: m.full("4887.0.0")})
	m.attempt(false)
	assert.Equal(t, ready, m.table(), "older, and allowed")

	m.file("dev/vda3", m.slot(oldVersion, func(f *footer.Footer) { f.RollbackFloor = oldVersion }))
	m.boot(partA)
	m.engine.StateOf().Installed = nil
	said := m.attempt(true)
	assert.Contains(t, said, "from now on no version before 4888.0.0 is taken")
	assert.Contains(t, said, "payload: version 4887.0.0, this machine accepts 4888.0.0 or newer")

	m.file("dev/vda3", m.slot(oldVersion))
	m.boot(partA)
	assert.Contains(t, m.attempt(true), "this machine accepts 4888.0.0 or newer")
}

func TestNewerWhileWaiting(t *testing.T) {
	m := newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	m.offering(&update{version: "4890.0.0", content: m.full("4890.0.0")})
	m.attempt(false)
	assert.Equal(t, "4890.0.0", m.engine.Status().NewVersion)
	assert.Equal(t, ready, m.table())
}

func TestReset(t *testing.T) {
	m := newMachine(t)
	assert.EqualError(t, m.engine.ResetStatus(), "no update waits for a reboot")
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	require.NoError(t, m.engine.ResetStatus())
	assert.Equal(t, untouched, m.table())
	assert.Equal(t, updatebus.Idle, m.engine.Status().Operation)
	m.attempt(false)
	assert.Equal(t, ready, m.table())
}

func TestDisabled(t *testing.T) {
	m := newMachine(t)
	for _, server := range []string{"", "SERVER=disabled\n"} {
		m.file("etc/coreos/update.conf", []byte(server))
		assert.EqualError(t, m.engine.Attempt(t.Context(), false), "no update server")
		assert.Error(t, m.engine.AttemptUpdate())
	}
	assert.Empty(t, m.requests)
}

// A slot that somebody changes while it is written, or that is gone, ends an
// update.
func TestSlotDisappears(t *testing.T) {
	m := newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.engine.Changed = func(s updatebus.Status) {
		if s.Operation == updatebus.Finalizing {
			m.set(partB, 3, 1, false)
		}
	}
	assert.Contains(t, m.attempt(false), "the slot was changed by somebody else")
	assert.Equal(t, "USR-A priority=1 tries=0 successful=1\nUSR-B priority=3 tries=1 successful=0", m.table())

	m = newMachine(t)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	require.NoError(t, os.Remove(m.path("dev/vda4")))
	assert.Contains(t, m.attempt(false), "no such file or directory")
	assert.Equal(t, untouched, m.table())
}

// A server that talks nonsense is not believed, and the machine goes on.
func TestBadServers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		said   string
	}{
		"entities": {
			`<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><response protocol="3.0">&b;</response>`,
			"update check: omaha response: has a DTD",
		},
		"too large":    {"<response>" + strings.Repeat("<a/>", 300_000), "update check: omaha response: more than 16 levels or 4096 elements"},
		"no end":       {"<response protocol='3.0'>", "update check: omaha response: XML syntax error on line 1: unexpected EOF"},
		"another app":  {"<response protocol='3.0'><app appid='x' status='ok'/></response>", "update check: omaha response: nothing about app {e96281a6-"},
		"not XML":      {"Service Unavailable", "update check: omaha response: ends too early"},
		"no such app":  {"<response protocol='3.0'><app appid='{E96281A6-D1AF-4BDE-9A0A-97B76E56DC57}' status='error-unknownApplication'/></response>", `update check: omaha response: status "error-unknownApplication"`},
		"not answered": {"<response protocol='3.0'><app appid='{e96281a6-d1af-4bde-9a0a-97b76e56dc57}' status='ok'/></response>", "update check: omaha response: no updatecheck"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(tt.answer))
			})
			assert.Contains(t, m.attempt(false), tt.said)
			assert.Equal(t, untouched, m.table())
			assert.Equal(t, updatebus.Idle, m.engine.Status().Operation)
		})
	}
}

// A machine whose clock is in the past knows better by what it runs; an expired
// key is named.
func TestClock(t *testing.T) {
	m := newMachine(t)
	m.clock = time.Unix(0, 0)
	m.offering(&update{version: newVersion, content: m.full(newVersion)})
	m.attempt(false)
	assert.Equal(t, ready, m.table())
}

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		name     string
		err      error
		failures int
		poll     time.Duration
		want     time.Duration
	}{
		{name: "no update", want: time.Hour},
		{name: "the server's wish", poll: 2 * time.Hour, want: 2 * time.Hour},
		{name: "not that often", poll: time.Minute, want: 45 * time.Minute},
		{name: "no network", err: errors.New("dial"), failures: 1, want: 10 * time.Minute},
		{name: "still none", err: errors.New("dial"), failures: 4, want: 80 * time.Minute},
		{name: "for long", err: errors.New("dial"), failures: 99, want: 4 * time.Hour},
		{name: "overloaded", err: updateengine.ServerError(503, 5*time.Hour), failures: 1, want: 5 * time.Hour},
		{name: "an answer", err: updateengine.RefusedChannel(), failures: 1, want: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, updateengine.Next(tt.err, tt.failures, tt.poll, 0.5))
			assert.Less(t, updateengine.Next(tt.err, tt.failures, tt.poll, 0), tt.want)
			assert.Greater(t, updateengine.Next(tt.err, tt.failures, tt.poll, 1), tt.want)
		})
	}
}

var _ payload.Signer = signer{}
