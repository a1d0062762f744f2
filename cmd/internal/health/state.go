package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"slipway/cmd/internal/durable"
	"slipway/cmd/internal/slots"
)

// Record is one start of a version.
type Record struct {
	Slot     string    `json:"slot"`
	Version  string    `json:"version"`
	RootHash string    `json:"root_hash,omitempty"`
	Boot     string    `json:"boot"` // the kernel's id of that boot
	Time     time.Time `json:"time"`
	// Reason says why it failed, or what is awaited while it is on trial.
	Reason string `json:"reason,omitempty"`
	// Ended says that the machine was restarted in order.
	Ended bool `json:"ended,omitempty"`
}

// State is what is kept from boot to boot.
type State struct {
	// Trial is a version that was started, is not proven and about which
	// nothing has been decided. If it is of another boot, that boot ended
	// without a word.
	Trial *Record `json:"trial,omitempty"`
	// Healthy is the last version that was found healthy.
	Healthy *Record `json:"healthy,omitempty"`
	// Failures are of the versions in the slots, at most one for each.
	Failures []Record `json:"failures,omitempty"`
	// Returned is the root hash of the version that got a try back because the
	// machine was restarted while it was on trial.
	Returned string `json:"returned,omitempty"`
	// Stage1 is the root hash of the version whose stage 1 was put on the EFI
	// system partition.
	Stage1 string `json:"stage1,omitempty"`
}

// loadState reads the state; without one it is empty, and so it is, with an
// error, if the file makes no sense: a machine must not fail over it.
func (e *Env) loadState() (*State, error) {
	text, err := os.ReadFile(e.path(statePath))
	if errors.Is(err, fs.ErrNotExist) {
		return new(State), nil
	}
	if err != nil {
		return new(State), fmt.Errorf("state: %w", err)
	}
	s := new(State)
	if err := json.Unmarshal(text, s); err != nil {
		return new(State), fmt.Errorf("state /%s: %w; starting with an empty one", statePath, err)
	}
	return s, nil
}

// saveState returns when the state is on stable storage.
func (e *Env) saveState(s *State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("internal error: state: %w", err)
	}
	if err := durable.WriteFile(e.path(statePath), append(text, '\n')); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// failure finds the failure of a slot.
func (s *State) failure(slot string) *Record {
	for i := range s.Failures {
		if s.Failures[i].Slot == slot {
			return &s.Failures[i]
		}
	}
	return nil
}

// fail keeps a failure in place of an older one of the slot.
func (s *State) fail(r Record) {
	s.forget(r.Slot)
	s.Failures = append(s.Failures, r)
	slices.SortFunc(s.Failures, func(a, b Record) int {
		if a.Slot < b.Slot {
			return -1
		}
		return 1
	})
}

func (s *State) forget(slot string) {
	s.Failures = slices.DeleteFunc(s.Failures, func(r Record) bool { return r.Slot == slot })
}

// live is what is known of this boot, for status. Its times count from the
// start of the kernel.
type live struct {
	Phase  phase         `json:"phase"`
	Reason string        `json:"reason,omitempty"`
	Until  time.Duration `json:"until,omitempty"` // nanoseconds
	// Time is when the phase began.
	Time time.Time `json:"time"`
	// Trial says that the slot was not proven when the machine started.
	Trial bool `json:"trial"`
	// Problems are what else went wrong, such as a stage 1 that could not be
	// written.
	Problems []string `json:"problems,omitempty"`
	// Slots are as they were when this was written, for readers that may not
	// read the disk.
	Slots []slots.Slot `json:"slots,omitempty"`
}

func (e *Env) readLive() (*live, error) {
	text, err := os.ReadFile(e.path(runPath))
	if err != nil {
		return nil, err
	}
	l := new(live)
	return l, json.Unmarshal(text, l)
}

func (e *Env) writeLive(l *live) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	return durable.WriteFile(e.path(runPath), append(text, '\n'))
}
