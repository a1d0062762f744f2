package bootengine

import (
	"fmt"

	"slipway/partitions"
)

// slotSource is what choose needs done to slots.
type slotSource interface {
	// UseTry takes one of the slot's tries and returns when the disk says so.
	// A slot without tries is left alone.
	UseTry(number int) error
	// Open verifies the slot and mounts its file system, or says why not and
	// leaves nothing behind.
	Open(p partitions.Partition) (*slot, error)
}

// failure is a slot that could not be started.
type failure struct {
	Label string
	Err   error
}

// noSlotError says why each slot cannot be started.
type noSlotError struct {
	failures []failure
}

func (e *noSlotError) Error() string {
	if len(e.failures) == 1 {
		return fmt.Sprintf("%s: %v", e.failures[0].Label, e.failures[0].Err)
	}
	return fmt.Sprintf("none of %d slots can be started", len(e.failures))
}

// lines is one line for each slot.
func (e *noSlotError) lines() []string {
	lines := make([]string, len(e.failures))
	for i, f := range e.failures {
		lines[i] = fmt.Sprintf("%s: %v", f.Label, f.Err)
	}
	return lines
}

// choose opens the best slot that can be opened, in the order of
// partitions.Next, and takes a try from each before it is touched. given is a
// partition number decided before a kexec: then there is no choice and no try
// is taken. The failures of slots passed over are returned too.
func choose(t *partitions.Table, given int, src slotSource, say func(string, ...any)) (*slot, []failure, error) {
	if given != 0 {
		s, err := openGiven(t, given, src)
		return s, nil, err
	}
	var failures []failure
	var tried []int
	for {
		number, ok := partitions.Next(t, tried...)
		if !ok {
			return nil, failures, &noSlotError{append(failures, unbootable(t, tried)...)}
		}
		tried = append(tried, number)
		p, _ := t.Partition(number)
		s, err := try(p, src, say)
		if err == nil {
			return s, failures, nil
		}
		say("%s: %v", p.Label, err)
		failures = append(failures, failure{p.Label, err})
	}
}

// try takes a try and opens the slot. A slot that is not proven must not be
// started when its try cannot be taken: it would be started for ever.
func try(p partitions.Partition, src slotSource, say func(string, ...any)) (*slot, error) {
	if err := src.UseTry(p.Number); err != nil {
		if !p.Attributes.Successful() {
			return nil, fmt.Errorf("write its tries: %w", err)
		}
		say("%s: write its tries: %v; it is proven and started all the same", p.Label, err)
	}
	return src.Open(p)
}

func openGiven(t *partitions.Table, number int, src slotSource) (*slot, error) {
	for _, p := range t.Slots() {
		if p.Number == number {
			s, err := src.Open(p)
			if err != nil {
				return nil, fmt.Errorf("%s, whose kernel is running: %w", p.Label, err)
			}
			return s, nil
		}
	}
	return nil, fmt.Errorf("partition %d, given on the command line: not a slot", number)
}

// unbootable says of the slots that were not tried why not.
func unbootable(t *partitions.Table, tried []int) []failure {
	var failures []failure
	for _, p := range t.Slots() {
		seen := false
		for _, n := range tried {
			seen = seen || n == p.Number
		}
		if !seen {
			failures = append(failures, failure{p.Label, fmt.Errorf("not to be started: %s", p.Attributes)})
		}
	}
	return failures
}
