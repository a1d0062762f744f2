package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

// trial is a version in a channel, as machines try it.
type trial struct{ Channel, Version string }

// tally is how many machines have tried a version and what came of it.
type tally struct {
	Running int // they run it
	Failed  int // it failed on them, and they run something else
}

// count adds a machine to the tallies, or takes it out. The store is locked.
func (s *store) count(m *Machine, n int) {
	s.add(trial{m.Channel, m.Version}, tally{Running: n})
	if m.FailedTimes > 0 && m.FailedVersion != "" {
		s.add(trial{m.Channel, m.FailedVersion}, tally{Failed: n})
	}
}

func (s *store) add(t trial, n tally) {
	sum := s.trials[t]
	sum.Running, sum.Failed = sum.Running+n.Running, sum.Failed+n.Failed
	if sum == (tally{}) {
		delete(s.trials, t)
		return
	}
	s.trials[t] = sum
}

// tally says how a version does.
func (s *store) tally(t trial) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trials[t]
}

// Limit is how many machines a version may fail on: a number of them, or a
// percentage of those that tried it.
type Limit struct {
	Machines int
	Percent  float64
}

// leastFailures is how many machines a percentage needs: one that fails may be
// broken itself.
const leastFailures = 2

// UnmarshalYAML reads "3" and "2.5%".
func (l *Limit) UnmarshalYAML(text []byte) (err error) {
	var s string
	if err := yaml.Unmarshal(text, &s); err != nil {
		return err
	}
	number, percent := strings.CutSuffix(s, "%")
	*l = Limit{}
	if percent {
		l.Percent, err = strconv.ParseFloat(strings.TrimSpace(number), 64)
	} else {
		l.Machines, err = strconv.Atoi(s)
	}
	if err != nil || l.Percent < 0 || l.Percent > 100 || l.Machines < 0 || *l == (Limit{}) {
		return fmt.Errorf("limit %q: neither a number of machines nor a percentage", s)
	}
	return nil
}

// reached says whether a version has failed too often.
func (l *Limit) reached(t tally) bool {
	if l.Machines > 0 {
		return t.Failed >= l.Machines
	}
	return t.Failed >= leastFailures && float64(t.Failed)*100 >= l.Percent*float64(t.Failed+t.Running)
}

// Halt says that a version is not offered any more in a channel, because it
// failed on too many machines.
type Halt struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Running int       `json:"running"` // machines that ran it then
	Failed  int       `json:"failed"`  // machines it had failed on
}

// String is "2 of 30 machines failed".
func (h *Halt) String() string {
	return fmt.Sprintf("%d of %d machines failed", h.Failed, h.Failed+h.Running)
}

// halts keeps the halts, one for each channel, beside the file.
type halts struct {
	store *store

	mu   sync.Mutex
	list map[string]*Halt // by channel
}

func openHalts(s *store) (*halts, error) {
	h := &halts{store: s, list: map[string]*Halt{}}
	return h, loadAll(s, haltsBucket, func(channel string, halt *Halt) { h.list[channel] = halt })
}

// of gives the halt of a version that is in force under a rule, nil if there is
// none.
func (h *halts) of(channel, version string, rule *Rule) *Halt {
	if rule.HaltAfter == nil || rule.Resume == version {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if halt := h.list[channel]; halt != nil && halt.Version == version {
		return halt
	}
	return nil
}

// judge halts the versions of a channel that have failed too often, and tells
// of each that was not halted before.
func (h *halts) judge(ctx context.Context, ch *channel, rule *Rule, now time.Time) (*Halt, error) {
	if rule.HaltAfter == nil {
		return nil, nil
	}
	for _, step := range ch.Steps {
		t := h.store.tally(trial{ch.Name, step.Version})
		if rule.Resume == step.Version || !rule.HaltAfter.reached(t) {
			continue
		}
		halt := &Halt{Version: step.Version, At: now, Running: t.Running, Failed: t.Failed}
		if h.add(ch.Name, halt) {
			return halt, h.store.put(ctx, record{haltsBucket, ch.Name}, halt)
		}
	}
	return nil, nil
}

// add takes a halt into the list, unless the version is there.
func (h *halts) add(channel string, halt *Halt) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.list[channel]; old != nil && old.Version == halt.Version {
		return false
	}
	h.list[channel] = halt
	return true
}

// halted says whether a version is halted in a channel.
func (s *Server) halted(channel, version string, rule *Rule) bool {
	return s.halts.of(channel, version, rule) != nil
}

// judge halts what has failed too often in a channel, and says so.
func (s *Server) judge(ctx context.Context, ch *channel, rule Rule, now time.Time) error {
	halt, err := s.halts.judge(ctx, ch, &rule, now)
	if halt != nil {
		s.o.Log.Error("roll-out halted", "channel", ch.Name, "version", halt.Version, "why", halt.String())
	}
	return err
}

// judgeAll judges every channel: rules and releases may have changed.
func (s *Server) judgeAll(ctx context.Context) error {
	contents := s.catalog.get()
	var errs []error
	for _, ch := range contents.channels {
		errs = append(errs, s.judge(ctx, ch, contents.rules.of(ch.Name), s.o.Now()))
	}
	return errors.Join(errs...)
}
