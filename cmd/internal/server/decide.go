package server

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// question is what a decision is made about.
type question struct {
	app     *omaha.App
	machine *Machine
	now     time.Time
	// halted says whether a version failed on too many machines.
	halted func(channel, version string, rule *Rule) bool
}

// decision is what a machine is told.
type decision struct {
	status  string
	why     string // in few words, for log and metrics
	version string
	floor   bool
	delta   bool
	file    *file
}

// What the server tells machines it cannot serve.
const (
	statusUnknownChannel = "error-noPackageFound"
	statusBadVersion     = "error-invalidVersion"
)

func none(why string) *decision { return &decision{status: omaha.StatusNoUpdate, why: why} }

// decide chooses the next version for a machine. It never offers one that is
// not newer than what the machine runs.
func decide(c *contents, q *question) *decision {
	ch := c.channels[q.app.Track]
	if ch == nil {
		return &decision{status: statusUnknownChannel, why: "unknown channel"}
	}
	if arch := architecture(q.app.Board); arch != "" && arch != ch.Arch {
		return &decision{status: statusUnknownChannel, why: "other architecture"}
	}
	rule := c.rules.of(ch.Name)
	next, err := nextStep(ch, q.app.Version)
	switch {
	case err != nil:
		return &decision{status: statusBadVersion, why: "malformed version"}
	case next == nil:
		return none("up to date")
	case rule.Paused:
		return none("paused")
	case q.halted(ch.Name, next.Version, &rule):
		return none("halted")
	case !next.Floor && !chosen(q.machine.ID, next.Version, *rule.Percent):
		return none("not its turn")
	case q.machine.mustWait(next.Version, q.now, time.Duration(rule.RetryFailed)):
		return none("failed before")
	}
	d := &decision{status: omaha.StatusOK, version: next.Version, floor: next.Floor, file: next.Full, why: "full"}
	if f := next.Deltas[q.app.Version]; f != nil && q.app.DeltaOK && q.machine.NoDelta != next.Version {
		d.file, d.delta, d.why = f, true, "delta"
	}
	if d.file == nil {
		return none("no payload")
	}
	return d
}

// nextStep gives the oldest step that is newer than a version, nil if none is.
func nextStep(ch *channel, running string) (*version, error) {
	for _, step := range ch.Steps {
		order, err := payload.CompareVersions(running, step.Version)
		if err != nil {
			return nil, err
		}
		if order < 0 {
			return step, nil
		}
	}
	return nil, nil
}

// architecture takes Debian's word out of a board such as "amd64-usr"; "" if
// the machine does not say.
func architecture(board string) string {
	for i, r := range board {
		if r == '-' {
			return board[:i]
		}
	}
	return board
}

// chosen says whether a machine is among the first percent that get a version.
// A machine that gives no id is the last.
func chosen(machine, version string, percent float64) bool {
	if percent >= 100 {
		return true
	}
	if machine == "" {
		return false
	}
	sum := sha256.Sum256([]byte(machine + " " + version))
	const scale = 1 << 32
	return float64(binary.BigEndian.Uint32(sum[:])) < percent/100*scale
}
