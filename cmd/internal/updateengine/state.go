package updateengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"slipway/cmd/internal/durable"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// State is what the engine keeps from run to run. Nothing in it can make a slot
// startable.
type State struct {
	LastChecked int64  `json:"last_checked,omitempty"` // seconds since 1970
	Aleph       string `json:"aleph,omitempty"`        // version that ran first

	// Installed is the version that waits for a restart, or whose start has not
	// been judged yet.
	Installed *Installed `json:"installed,omitempty"`
	// Failed is the last version that was installed and did not stay.
	Failed *Failure `json:"failed,omitempty"`
	// Broken is the last payload that could not be applied for reasons of its
	// own.
	Broken *Failure `json:"broken,omitempty"`
	// DeltaFailures counts deltas in a row that could not be applied.
	DeltaFailures int `json:"delta_failures,omitempty"`
	// Floor is the oldest version this machine accepts: the highest that a
	// version asked for that has proven itself here.
	Floor string `json:"floor,omitempty"`
	// Events are for the server, which has not acknowledged them.
	Events []*omaha.Event `json:"events,omitempty"`
}

// Installed is a version in the other slot.
type Installed struct {
	Version  string `json:"version"`
	RootHash string `json:"root_hash"`
	From     string `json:"from"` // version that ran then
	Slot     string `json:"slot"`
	Payload  string `json:"payload"` // its SHA-256, hex
	Size     int64  `json:"size"`    // of the payload, bytes
	Boot     string `json:"boot"`    // the kernel's id of the boot it was installed in
}

// Failure is something that is not to be tried again before a time.
type Failure struct {
	// ID is the root hash of a version, or the digest of a payload, in hex.
	ID string `json:"id"`
	// Payload is the digest of the payload that brought a version.
	Payload string    `json:"payload,omitempty"`
	Version string    `json:"version"`
	Times   int       `json:"times"` // in a row
	Until   time.Time `json:"until"`
}

// maxEvents bounds what is kept for a server that is away for long.
const maxEvents = 16

// loadState reads the state. It is empty, with an error, if the file makes no
// sense: a machine must not stay without updates over it.
func (g *Engine) loadState() (*State, error) {
	s := new(State)
	text, err := os.ReadFile(g.path(statePath))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return new(State), fmt.Errorf("state /%s: %w; starting with an empty one", statePath, err)
	}
	return s, nil
}

// save keeps the state. A ROOT that cannot be written is no reason not to
// update: what is lost is where to go on, and what to tell.
func (g *Engine) save() {
	text, err := json.MarshalIndent(g.state, "", "  ")
	if err == nil {
		err = durable.WriteFile(g.path(statePath), append(text, '\n'))
	}
	if err != nil {
		g.say("state not kept: %v", err)
	}
}

// queue keeps events until the server has them.
func (g *Engine) queue(events ...*omaha.Event) {
	g.state.Events = append(g.state.Events, events...)
	if more := len(g.state.Events) - maxEvents; more > 0 {
		g.state.Events = g.state.Events[more:]
	}
}

// fail makes the failure after f of the same thing, or the first of another.
// It must not be tried again before first has passed, twice as long after each
// failure, at most last.
func (f *Failure) fail(id, version string, now time.Time, first, last time.Duration) *Failure {
	next := &Failure{ID: id, Version: version, Times: 1}
	if f != nil && f.ID == id {
		next.Times = f.Times + 1
	}
	pause := last
	if next.Times <= 16 {
		pause = min(first<<(next.Times-1), last)
	}
	next.Until = now.Add(pause)
	return next
}

// holds says whether something is not to be tried yet. A time further away than
// any that is ever set is a clock that went wrong.
func (f *Failure) holds(id string, now time.Time) bool {
	return f != nil && f.ID == id && now.Before(f.Until) && f.Until.Sub(now) <= 2*maxFailurePause
}

const maxFailurePause = 16 * 24 * time.Hour

// progressed is where an interrupted download goes on.
type progressed struct {
	Payload  string `json:"payload"` // SHA-256 of the payload in hex, as the server gave it
	Size     int64  `json:"size"`
	ETag     string `json:"etag,omitempty"`
	Slot     string `json:"slot"`
	From     string `json:"from"` // root hash of the version that ran
	Metadata []byte `json:"metadata"`

	Checkpoint *payload.Checkpoint `json:"checkpoint"`
}

// loadProgress reads where a download came to; nil if that is of no use now.
func (g *Engine) loadProgress(o *offer, slot string) *progressed {
	text, err := os.ReadFile(g.path(checkpointPath))
	if err != nil {
		return nil
	}
	p := new(progressed)
	if json.Unmarshal(text, p) != nil || p.Checkpoint == nil || p.Payload != o.id() || p.Size != o.update.Size ||
		p.Slot != slot || p.From != g.boot.RootHash {
		return nil
	}
	return p
}

// saveProgress returns when it is on stable storage.
func (g *Engine) saveProgress(p *progressed) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("internal error: checkpoint: %w", err)
	}
	return durable.WriteFile(g.path(checkpointPath), text)
}

func (g *Engine) dropProgress() {
	if err := os.Remove(g.path(checkpointPath)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.say("checkpoint: %v", err)
	}
}
