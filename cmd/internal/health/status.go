package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"slipway/cmd/internal/slots"
	"slipway/cmd/internal/updateconf"
)

// Status is what "slipway-host status" shows; with --json it is this document.
type Status struct {
	Version string `json:"version"`
	Slot    string `json:"slot"`
	Health  struct {
		Phase   string `json:"phase"` // starting, waiting, settling, healthy, unhealthy
		Reason  string `json:"reason,omitempty"`
		OnTrial bool   `json:"on_trial"`
		// SecondsLeft is how long the phase can last.
		SecondsLeft int       `json:"seconds_left"`
		Since       time.Time `json:"since"`
	} `json:"health"`
	Slots    []slots.Slot `json:"slots"`
	Failures []Record     `json:"failures"`
	Problems []string     `json:"problems"`
	Update   struct {
		Group          string `json:"group"`
		Server         string `json:"server"`
		RebootStrategy string `json:"reboot_strategy"`
		// Ready is the version that a restart would start, if that is another.
		Ready string `json:"ready,omitempty"`
	} `json:"update"`
}

// errNoSlot is for machines that run from memory or the network.
var errNoSlot = errors.New("this machine was not started from a slot")

// status collects it. Everybody may ask; who may not read the disk sees the
// slots as they were when the health program last looked.
func (e *Env) status(ctx context.Context) (*Status, error) {
	b, err := e.machine().Boot()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoSlot
	}
	if err != nil {
		return nil, err
	}
	s := &Status{Version: b.Version, Slot: b.Slot, Failures: []Record{}, Problems: []string{}}
	c := updateconf.Read(e.root())
	s.Update.Group, s.Update.Server, s.Update.RebootStrategy = c.Group, c.Server, c.RebootStrategy
	for _, p := range c.Problems {
		s.Problems = append(s.Problems, p.String())
	}
	state, err := e.loadState()
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	l, err := e.readLive()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Problems = append(s.Problems, err.Error())
	}
	if l == nil {
		l = new(live)
	}
	s.Problems = append(s.Problems, l.Problems...)
	if err := e.addSlots(s, b, l); err != nil {
		return nil, err
	}
	explain(state, b, s.Slots, e.bootID(), e.Now()) // as the health program will
	s.Failures = append(s.Failures, state.Failures...)
	e.addHealth(ctx, s, l, c)
	return s, nil
}

func (e *Env) addSlots(s *Status, b *slots.Boot, l *live) error {
	s.Slots = l.Slots
	d, err := e.machine().Open(b, false)
	if err == nil {
		defer d.Close()
		s.Slots = d.Slots(b)
	} else if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var best, running slots.Slot
	for _, slot := range s.Slots {
		if (slot.Tries > 0 || slot.Successful) && slot.Priority > best.Priority {
			best = slot
		}
		if slot.Running {
			running, s.Health.OnTrial = slot, !slot.Successful
		}
	}
	// A lower priority would be the way back from a trial, not an update.
	if !best.Running && best.Priority > running.Priority {
		s.Update.Ready = best.Version
	}
	return nil
}

// addHealth asks systemd unless the judgement is there already: before the
// health program runs there is something to say, too.
func (e *Env) addHealth(ctx context.Context, s *Status, l *live, c *updateconf.Config) {
	h := &s.Health
	h.Phase, h.Reason, h.Since = string(l.Phase), l.Reason, l.Time
	if l.Phase == healthy || l.Phase == unhealthy {
		return
	}
	if l.Phase == "" {
		h.Phase, h.Reason = "starting", "the health service has not looked yet"
	}
	now, until := e.Uptime(), l.Until
	if until == 0 {
		until = c.HealthTimeout
	}
	if units, err := ask(ctx, e.Systemd, nil); err == nil {
		if v := judge(assess(units), now, c); v.Phase == waiting || v.Phase == unhealthy {
			h.Reason = v.Reason
		}
	}
	h.SecondsLeft = int(max(0, until-now) / time.Second)
}

// ShowStatus is the program "slipway-host status".
func ShowStatus(ctx context.Context, args []string, e *Env) int {
	asJSON := false
	for _, a := range args {
		switch a {
		case "--json", "-json":
			asJSON = true
		default:
			fmt.Fprintf(e.Stderr, "usage: %s [--json]\n", e.Name)
			return 2
		}
	}
	s, err := e.status(ctx)
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
		return 1
	}
	if asJSON {
		text, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			fmt.Fprintf(e.Stderr, "%s: internal error: %v\n", e.Name, err)
			return 1
		}
		fmt.Fprintf(e.Stdout, "%s\n", text)
		return 0
	}
	fmt.Fprint(e.Stdout, s.text())
	return 0
}

// text is the status for people.
func (s *Status) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Version:\t%s from %s\n", s.Version, s.Slot)
	fmt.Fprintf(w, "Health:\t%s\n", s.healthText())
	fmt.Fprintf(w, "Updates:\t%s\n", s.updateText())
	w.Flush()
	fmt.Fprintln(&b)
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SLOT\tVERSION\tPRIORITY\tTRIES\tSUCCESSFUL\tDEVICE")
	for _, slot := range s.Slots {
		version, successful, note := "-", 0, ""
		if slot.Version != "" {
			version = slot.Version
		}
		if slot.Successful {
			successful = 1
		}
		if slot.Running {
			note = "  running"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s%s\n", slot.Label, version, slot.Priority, slot.Tries,
			successful, slot.Device, note)
	}
	w.Flush()
	for _, r := range s.Failures {
		fmt.Fprintf(&b, "\nLast failure, %s:\n  %s\n", r.Time.UTC().Format("2006-01-02 15:04:05 MST"), r.line())
	}
	for i, p := range s.Problems {
		if i == 0 {
			fmt.Fprintln(&b, "\nProblems:")
		}
		fmt.Fprintf(&b, "  %s\n", p)
	}
	return b.String()
}

func (s *Status) healthText() string {
	text := s.Health.Phase
	if s.Health.Reason != "" {
		text += ": " + s.Health.Reason
	}
	if s.Health.SecondsLeft > 0 {
		text += fmt.Sprintf(" (%d s left)", s.Health.SecondsLeft)
	}
	if s.Health.OnTrial {
		text += "; this version is on trial"
	}
	return text
}

func (s *Status) updateText() string {
	u := s.Update
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"group", u.Group}, {"server", u.Server}, {"reboot strategy", u.RebootStrategy},
	} {
		if p.value == "" {
			p.value = "-"
		}
		parts = append(parts, p.name+" "+p.value)
	}
	text := strings.Join(parts, ", ")
	if u.Ready != "" {
		text += "; a restart starts " + u.Ready
	}
	return text
}
