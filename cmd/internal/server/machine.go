package server

import (
	"strings"
	"time"
	"unicode"

	"slipway/signing/omaha"
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
	Target  string    `json:"target,omitempty"` // version offered last
	Changed time.Time `json:"changed,omitzero"` // of State

	// FailedVersion is the version that failed last, FailedTimes how often in
	// a row, ErrorCode with what.
	FailedVersion string    `json:"failed_version,omitempty"`
	FailedTimes   int       `json:"failed_times,omitempty"`
	FailedAt      time.Time `json:"failed_at,omitzero"`
	ErrorCode     int       `json:"error_code,omitempty"`
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
}

func (m *Machine) set(s State, now time.Time) { m.State, m.Changed = s, now }

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
		m.FailedVersion, m.FailedTimes, m.FailedAt, m.ErrorCode = "", 0, time.Time{}, 0
	case e.Type == omaha.EventUpdateComplete:
		m.set(Installed, now)
	}
}

// fail takes down a failure. After a roll-back the machine says which version
// it came from: that is the one that failed, if the server does not remember.
func (m *Machine) fail(e *omaha.Event, now time.Time) {
	version := m.Target
	if version == "" {
		version = clean(e.PreviousVersion)
	}
	if version != m.FailedVersion {
		m.FailedVersion, m.FailedTimes = version, 0
	}
	m.FailedTimes = min(m.FailedTimes+1, maxFailures)
	m.FailedAt, m.ErrorCode = now, e.ErrorCode
	m.set(Failed, now)
}

// mustWait says whether a version failed on the machine too lately to be
// offered again.
func (m *Machine) mustWait(version string, now time.Time, retry time.Duration) bool {
	if m.FailedVersion != version || m.FailedTimes == 0 {
		return false
	}
	return now.Before(m.FailedAt.Add(retry << (m.FailedTimes - 1)))
}

// offered takes down what the machine was told.
func (m *Machine) offered(d *decision, now time.Time) {
	if d.file == nil {
		return
	}
	m.Target = d.version
	if m.State == Idle || m.State == Failed {
		m.set(Offered, now)
	}
}
