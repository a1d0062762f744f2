package health

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"slipway/cmd/internal/durable"
	"slipway/cmd/internal/slots"
)

// spent is how the boot engine says that it passed a slot over which used up
// its tries. Whoever watched those tries knows more.
const spent = "its tries are spent"

// explain brings the failures in a state up to date at the start of a boot,
// and is pure. What it adds are
//
//   - a version whose trial was not decided when its boot ended;
//   - slots that the boot engine passed over, unless a reason is known from
//     the machine's own judgement.
//
// What it takes away are failures of versions that are not in their slot any
// more.
func explain(s *State, b *slots.Boot, list []slots.Slot, bootID string, now time.Time) {
	if t := s.Trial; t != nil && t.Boot != bootID {
		r := *t
		switch {
		case t.Ended:
			r.Reason = "was restarted before it was judged"
		case b.EndedByWatchdog:
			r.Reason = "hung, and the watchdog restarted the machine"
		default:
			r.Reason = "the machine went down without a word (panic, reset or power cut)"
		}
		if t.Reason != "" {
			r.Reason += "; awaited was: " + t.Reason
		}
		s.fail(r)
		s.Trial = nil
	}
	for _, label := range slices.Sorted(maps.Keys(b.Failures)) {
		reason := b.Failures[label]
		if strings.Contains(reason, spent) && b.EndedByWatchdog {
			reason += "; the start before this one hung, and the watchdog restarted the machine"
		}
		r := Record{Slot: label, Version: b.Versions[label], Boot: bootID, Time: now, Reason: reason}
		for _, slot := range list {
			if slot.Label == label {
				r.RootHash = slot.RootHash
				if r.Version == "" {
					r.Version = slot.Version
				}
			}
		}
		if old := s.failure(label); old != nil && old.RootHash == r.RootHash &&
			(strings.Contains(reason, spent) || old.Reason == reason) {
			continue
		}
		s.fail(r)
	}
	s.Failures = slices.DeleteFunc(s.Failures, func(r Record) bool {
		if _, passed := b.Failures[r.Slot]; passed {
			return false
		}
		i := slices.IndexFunc(list, func(slot slots.Slot) bool { return slot.Label == r.Slot })
		// A slot without a footer is being written: what was in it is gone. Who
		// may not see the slots keeps what is known.
		return len(list) > 0 && (i < 0 || list[i].RootHash != r.RootHash)
	})
}

// line says what happened to a version.
func (r *Record) line() string {
	name := r.Slot
	if r.Version != "" {
		name = r.Version + " in " + r.Slot
	}
	return fmt.Sprintf("version %s failed: %s", name, r.Reason)
}

// announce tells everybody about versions that failed: each on its own line in
// the journal and on the console, and in the message that logins show.
func (e *Env) announce(s *State, b *slots.Boot) {
	for _, r := range s.Failures {
		e.shout("%s", r.line())
	}
	if len(s.Failures) > 0 {
		e.shout("this machine runs %s from %s", b.Version, b.Slot)
	}
	e.writeMotd(s)
}

// writeMotd writes the message of logins, or takes it away. It is kept, like
// the state it shows: who logs in early in a boot sees it too.
func (e *Env) writeMotd(s *State) {
	var text strings.Builder
	for _, r := range s.Failures {
		fmt.Fprintf(&text, "Update failed at %s: %s\n", r.Time.UTC().Format("2006-01-02 15:04 MST"), r.line())
	}
	name := e.path(motdPath)
	if old, err := os.ReadFile(name); err == nil && string(old) == text.String() {
		return
	}
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if text.Len() > 0 {
		err = durable.WriteFile(name, []byte(text.String()))
	}
	if err != nil {
		e.say("login message: %v", err)
	}
}
