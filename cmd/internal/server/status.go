package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// group is machines that have these in common.
type group struct {
	Channel, Version string
	State            State
}

// maxGroups bounds how many groups are told apart: what channels and versions
// there are, machines say.
const maxGroups = 1000

// summarize counts machines by group.
func summarize(list []*Machine) map[group]int {
	groups := map[group]int{}
	for _, m := range list {
		g := group{m.Channel, m.Version, m.State}
		if _, known := groups[g]; !known && len(groups) >= maxGroups {
			g = group{"other", "other", Idle}
		}
		groups[g]++
	}
	return groups
}

// pageData is what the page shows.
type pageData struct {
	Channels []channelRow
	Problems []string
	Groups   []groupRow
	Flights  []flightRow
	Failures []failureRow
	Total    int
	Today    int
}

type channelRow struct {
	Name, Version, Arch, Rollout, Floors, Pointer string
	Running, Failed                               int // machines
}

type groupRow struct {
	group
	N int
}

// flight is an update in one of the states that are no end.
type flight struct {
	Channel, Target string
	State           State
}

type flightRow struct {
	flight
	N       int
	Longest string // ago that the state began
}

type failure struct {
	Version string
	Code    int
}

type failureRow struct {
	failure
	N int
}

// status answers with the page.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	page, err := statusTemplate()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := page.Execute(w, s.page()); err != nil {
		s.o.Log.Debug("page not delivered", "error", err)
	}
}

func (s *Server) page() *pageData {
	machines, now := s.store.all(), s.o.Now()
	p := &pageData{Total: len(machines)}
	contents := s.catalog.get()
	for _, name := range slices.Sorted(maps.Keys(contents.channels)) {
		p.Channels = append(p.Channels, s.row(contents.channels[name], contents.rules.of(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(contents.problems)) {
		p.Problems = append(p.Problems, contents.problems[name])
	}
	for g, n := range summarize(machines) {
		p.Groups = append(p.Groups, groupRow{g, n})
	}
	slices.SortFunc(p.Groups, func(a, b groupRow) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(b.Version, a.Version), cmp.Compare(a.State, b.State))
	})
	for _, m := range machines {
		if now.Sub(m.Seen) < 24*time.Hour {
			p.Today++
		}
	}
	p.Flights = flights(machines, now)
	p.Failures = failures(machines)
	return p
}

// flights lists the updates that are under way.
func flights(machines []*Machine, now time.Time) []flightRow {
	count, since := map[flight]int{}, map[flight]time.Time{}
	for _, m := range machines {
		f := flight{m.Channel, m.Target, m.State}
		if m.State == Idle || m.State == Failed || len(count) >= maxGroups && count[f] == 0 {
			continue
		}
		if count[f]++; count[f] == 1 || m.Changed.Before(since[f]) {
			since[f] = m.Changed
		}
	}
	var rows []flightRow
	for f, n := range count {
		rows = append(rows, flightRow{f, n, now.Sub(since[f]).Truncate(time.Minute).String()})
	}
	slices.SortFunc(rows, func(a, b flightRow) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(b.Target, a.Target), cmp.Compare(a.State, b.State))
	})
	return rows
}

// failures lists what updates failed on, the most frequent first.
func failures(machines []*Machine) []failureRow {
	count := map[failure]int{}
	for _, m := range machines {
		f := failure{m.FailedVersion, m.ErrorCode}
		if m.FailedTimes == 0 {
			f = failure{m.Target, m.Trouble}
		}
		if m.FailedTimes == 0 && m.State != Failed || len(count) >= maxGroups && count[f] == 0 {
			continue
		}
		count[f]++
	}
	var rows []failureRow
	for f, n := range count {
		rows = append(rows, failureRow{f, n})
	}
	slices.SortFunc(rows, func(a, b failureRow) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(b.Version, a.Version), cmp.Compare(a.Code, b.Code))
	})
	return rows
}

func (s *Server) row(ch *channel, rule Rule) channelRow {
	t := s.store.tally(trial{ch.Name, ch.Version})
	r := channelRow{
		Name: ch.Name, Version: ch.Version, Arch: ch.Arch, Running: t.Running, Failed: t.Failed,
		Rollout: fmt.Sprintf("%g %%", *rule.Percent), Floors: strings.Join(rule.Floors, ", "), Pointer: "unsigned",
	}
	if ch.Pointer != nil {
		r.Pointer = fmt.Sprintf("number %d, from %s", ch.Pointer.Sequence, ch.Pointer.From)
	}
	halt := s.halts.of(ch.Name, ch.Version, &rule)
	switch {
	case ch.Steps[len(ch.Steps)-1].Full == nil:
		r.Rollout = "no payload"
	case rule.Paused:
		r.Rollout = "paused"
	case halt != nil:
		r.Rollout = "halted: " + halt.String()
	}
	return r
}
