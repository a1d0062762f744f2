package server

import (
	"strings"
	"time"
	"unicode"

	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// State is how far a machine's update has come.
type State string

// The states of a machine.
const (
	Idle        State = ""
	Offered     State = "offered"
	Downloading State = "downloading"
	Downloaded  State = "downloaded"
	Installed   State = "installed" // waits for the reboot
	Failed      State = "failed"
)

// Machine is what is known of one machine.
type Machine struct {
	ID      string    `json:"id"`
	Channel string    `json:"channel"`
	Version string    `json:"version"` // that runs
	Board   string    `json:"board,omitempty"`
	OEM     string    `json:"oem,omitempty"`
	First   time.Time `json:"first"`
	Seen    time.Time `json:"seen"`

	State   State     `json:"state,omitempty"`
	Changed time.Time `json:"changed,omitzero"`   // of State
	Target  string    `json:"target,omitempty"`   // version offered last
	Delta   bool      `json:"delta,omitempty"`    // as a delta payload
	Trouble int       `json:"trouble,omitempty"`  // error code, if State is Failed
	NoDelta string    `json:"no_delta,omitempty"` // version whose delta failed

	// FailedVersion is the version that failed last, FailedTimes how often in
	// a row, ErrorCode with what. A machine that does not say which version it
	// was has none.
	FailedVersion string    `json:"failed_version,omitempty"`
	FailedTimes   int       `json:"failed_times,omitempty"`
	FailedAt      time.Time `json:"failed_at,omitzero"`
	ErrorCode     int       `json:"error_code,omitempty"`
}

// Error codes of update_engine (action_processor.h) that tell who is to blame.
const (
	codeOpenSlot  = 7    // the machine cannot write to its own disk
	codeTransfer  = 9    // the download broke off
	codeOmahaHTTP = 37   // a server did not answer
	codeDeferred  = 40   // the machine waits, by its own rules
	codeRollback  = 44   // the version was started and given up
	codeHTTP      = 2000 // and the HTTP status

	// codeFlags are bits that say how the machine was set up.
	codeFlags = 0xf << 28
)

// passes says whether an error says nothing against the version.
func passes(code int) bool {
	switch code {
	case codeOpenSlot, codeTransfer, codeOmahaHTTP, codeDeferred:
		return true
	}
	return code >= codeHTTP
}

// maxText bounds what is kept of a text that a machine sends.
const maxText = 100

// maxFailures bounds how often the time to wait is doubled.
const maxFailures = 6

// clean makes a text that a machine sends fit for logs, labels and keys.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// machineID makes an id fit for a key; "" is a machine that has none.
func machineID(s string) string { return clean(s) }

// see takes down what a machine says of itself.
func (m *Machine) see(app *omaha.App, now time.Time) {
	if m.First.IsZero() {
		m.First = now
	}
	m.Seen = now
	m.Channel, m.Version = clean(app.Track), clean(app.Version)
	m.Board, m.OEM = clean(app.Board), clean(app.OEM)
	if m.Target != "" && m.Version == m.Target && m.State != Idle {
		m.set(Idle, now)
	}
	if m.Version == m.FailedVersion {
		m.forgive() // it works after all
	}
}

// forgive forgets the failures.
func (m *Machine) forgive() {
	m.FailedVersion, m.FailedTimes, m.FailedAt, m.ErrorCode = "", 0, time.Time{}, 0
}

func (m *Machine) set(s State, now time.Time) { m.State, m.Changed, m.Trouble = s, now, 0 }

// apply takes down an event.
func (m *Machine) apply(e *omaha.Event, now time.Time) {
	switch {
	case e.Result == omaha.ResultError:
		m.fail(e, now)
	case e.Type == omaha.EventDownloadStarted:
		m.set(Downloading, now)
	case e.Type == omaha.EventDownloadFinished:
		m.set(Downloaded, now)
	case e.Type == omaha.EventUpdateComplete && e.Result == omaha.ResultSuccessReboot:
		m.set(Idle, now)
		m.forgive()
	case e.Type == omaha.EventUpdateComplete:
		m.set(Installed, now)
	}
}

// fail takes down a failure. One that says nothing against the version, such as
// a network that broke down, may be tried again at once, and so may the full
// payload if it was the delta that failed.
func (m *Machine) fail(e *omaha.Event, now time.Time) {
	code := e.ErrorCode &^ codeFlags
	m.set(Failed, now)
	m.Trouble = code
	version := m.blamed(e)
	switch {
	case passes(code):
		return
	case m.Delta && version == m.Target && code != codeRollback:
		m.NoDelta = version
		return
	}
	if version != m.FailedVersion {
		m.FailedVersion, m.FailedTimes = version, 0
	}
	m.FailedTimes = min(m.FailedTimes+1, maxFailures)
	m.FailedAt, m.ErrorCode = now, code
}

// blamed is the version that failed. A machine that fell back may say from
// which version; one newer than what it runs was not its last good one.
// Otherwise it is what was offered, if the server remembers.
func (m *Machine) blamed(e *omaha.Event) string {
	order, err := payload.CompareVersions(m.Version, e.PreviousVersion)
	if e.PreviousVersion != "" && err == nil && order < 0 {
		return e.PreviousVersion
	}
	if m.Target == m.Version {
		return ""
	}
	return m.Target
}

// mustWait says whether a version failed on the machine too lately to be
// offered again.
func (m *Machine) mustWait(version string, now time.Time, retry time.Duration) bool {
	if m.FailedTimes == 0 || m.FailedVersion != "" && m.FailedVersion != version {
		return false
	}
	return now.Before(m.FailedAt.Add(retry << (m.FailedTimes - 1)))
}

// offered takes down what the machine was told.
func (m *Machine) offered(d *decision, now time.Time) {
	if d.file == nil {
		return
	}
	m.Target, m.Delta = d.version, d.delta
	if m.State == Idle || m.State == Failed {
		m.set(Offered, now)
	}
}
