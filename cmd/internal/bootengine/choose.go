package bootengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"slipway/partitions"
)

// slotSource is what choosing needs done to slots.
type slotSource interface {
	// UseTry takes one of the slot's tries and returns when the disk says so.
	// A slot without tries is left alone.
	UseTry(number int) error
	// Open verifies the slot and mounts its file system, or says why not and
	// leaves nothing behind.
	Open(p partitions.Partition) (*slot, error)
	// Version is the version in the slot's footer, "" if there is none that
	// can be trusted.
	Version(p partitions.Partition) string
}

// errSpent is the fate of a slot that was on trial and never proved itself.
var errSpent = errors.New("its tries are spent and it was never healthy")

// failure is a slot that could not be started.
type failure struct {
	Label   string
	Version string // "" if not known
	Err     error
}

// String is the line about it.
func (f failure) String() string {
	name := f.Label
	if f.Version != "" {
		name += " " + f.Version
	}
	return fmt.Sprintf("%s: %v", name, f.Err)
}

// failureJSON is a failure on its way through a kexec.
type failureJSON struct {
	Label   string `json:"slot"`
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason"`
}

// MarshalJSON keeps the text of the error.
func (f failure) MarshalJSON() ([]byte, error) {
	return json.Marshal(failureJSON{f.Label, f.Version, f.Err.Error()})
}

// UnmarshalJSON makes an error of the text again.
func (f *failure) UnmarshalJSON(text []byte) error {
	var j failureJSON
	err := json.Unmarshal(text, &j)
	*f = failure{j.Label, j.Version, errors.New(j.Reason)}
	return err
}

// noSlotError says why each slot cannot be started.
type noSlotError struct {
	failures []failure
}

func (e *noSlotError) Error() string {
	if len(e.failures) == 1 {
		return e.failures[0].String()
	}
	return fmt.Sprintf("none of %d slots can be started", len(e.failures))
}

// lines is one line for each slot.
func (e *noSlotError) lines() []string {
	lines := make([]string, len(e.failures))
	for i, f := range e.failures {
		lines[i] = f.String()
	}
	return lines
}

// chooser opens the slots of a disk, best first, until one can be started.
type chooser struct {
	table *partitions.Table
	src   slotSource
	say   func(string, ...any)

	tried    []int
	failures []failure // of slots passed over, as they were met
}

// next opens the best slot that can be opened and was not tried yet, in the
// order of partitions.Next, and takes a try from each before it is touched.
func (c *chooser) next() (*slot, error) {
	for {
		number, ok := partitions.Next(c.table, c.tried...)
		if !ok {
			return nil, &noSlotError{append(c.failures, c.unbootable()...)}
		}
		p, _ := c.table.Partition(number)
		c.noteSpent(p.Attributes.Priority())
		c.tried = append(c.tried, number)
		s, err := c.try(p)
		if err == nil {
			return s, nil
		}
		c.reject(p, err)
	}
}

// reject passes a slot over.
func (c *chooser) reject(p partitions.Partition, err error) {
	c.fail(failure{p.Label, c.src.Version(p), err})
}

// fail says and keeps a failure.
func (c *chooser) fail(f failure) {
	c.say("%s", f)
	c.failures = append(c.failures, f)
}

// noteSpent notes the slots that would have come before one of the given
// priority, had they tries left: somebody expects them to be started.
func (c *chooser) noteSpent(priority int) {
	for _, p := range c.table.Slots() {
		if !p.Attributes.Bootable() && p.Attributes.Priority() > priority && !slices.Contains(c.tried, p.Number) {
			c.tried = append(c.tried, p.Number)
			c.fail(failure{p.Label, c.src.Version(p), errSpent})
		}
	}
}

// try takes a try and opens the slot. A slot that is not proven must not be
// started when its try cannot be taken: it would be started for ever.
func (c *chooser) try(p partitions.Partition) (*slot, error) {
	if err := c.src.UseTry(p.Number); err != nil {
		if !p.Attributes.Successful() {
			return nil, fmt.Errorf("write its tries: %w", err)
		}
		c.say("%s: write its tries: %v; it is proven and started all the same", p.Label, err)
	}
	return c.src.Open(p)
}

// given opens the slot that was chosen before a kexec: there is no choice, and
// its try is taken already.
func (c *chooser) given(number int) (*slot, error) {
	for _, p := range c.table.Slots() {
		if p.Number == number {
			s, err := c.src.Open(p)
			if err != nil {
				return nil, fmt.Errorf("%s, whose kernel is running: %w", p.Label, err)
			}
			return s, nil
		}
	}
	return nil, fmt.Errorf("partition %d, given on the command line: not a slot", number)
}

// unbootable says of the slots that were not tried why not.
func (c *chooser) unbootable() []failure {
	var failures []failure
	for _, p := range c.table.Slots() {
		if slices.Contains(c.tried, p.Number) {
			continue
		}
		why := fmt.Errorf("not to be started: %s", p.Attributes)
		if p.Attributes.Priority() > 0 {
			why = errSpent
		}
		failures = append(failures, failure{p.Label, c.src.Version(p), why})
	}
	return failures
}
