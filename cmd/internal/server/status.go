package server

import (
	"cmp"
	"fmt"
	"html/template"
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

// statusPage is the page for people. It has no scripts and loads nothing.
const statusPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Slipway updates</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } th, td { border-color: #444 } }
</style></head><body>
<h1>Updates</h1>
<h2>Channels</h2>
<table><tr><th>Channel</th><th>Version</th><th>Architecture</th><th>Roll-out</th><th>Floors</th></tr>
{{range .Channels}}<tr><td>{{.Name}}</td><td>{{.Version}}</td><td>{{.Arch}}</td><td>{{.Rollout}}</td><td>{{.Floors}}</td></tr>
{{else}}<tr><td colspan="5">none</td></tr>
{{end}}</table>
<h2>Machines: {{.Total}}, {{.Today}} of them seen within a day</h2>
<table><tr><th>Channel</th><th>Version</th><th>Update</th><th class="n">Machines</th></tr>
{{range .Groups}}<tr><td>{{.Channel}}</td><td>{{.Version}}</td><td>{{.State}}</td><td class="n">{{.N}}</td></tr>
{{else}}<tr><td colspan="4">none yet</td></tr>
{{end}}</table>
<h2>Failures</h2>
<table><tr><th>Version</th><th>Error code</th><th class="n">Machines</th></tr>
{{range .Failures}}<tr><td>{{.Version}}</td><td>{{.Code}}</td><td class="n">{{.N}}</td></tr>
{{else}}<tr><td colspan="3">none</td></tr>
{{end}}</table>
</body></html>
`

// pageData is what the page shows.
type pageData struct {
	Channels []channelRow
	Groups   []groupRow
	Failures []failureRow
	Total    int
	Today    int
}

type channelRow struct{ Name, Version, Arch, Rollout, Floors string }

type groupRow struct {
	group
	N int
}

type failureRow struct {
	Version string
	Code    int
	N       int
}

// status answers with the page.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	page, err := template.New("status").Parse(statusPage)
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
	machines := s.store.all()
	p := &pageData{Total: len(machines)}
	contents := s.catalog.get()
	for _, ch := range contents.channels {
		p.Channels = append(p.Channels, row(ch, contents.rules.of(ch.Name)))
	}
	slices.SortFunc(p.Channels, func(a, b channelRow) int { return cmp.Compare(a.Name, b.Name) })
	for g, n := range summarize(machines) {
		p.Groups = append(p.Groups, groupRow{g, n})
	}
	slices.SortFunc(p.Groups, func(a, b groupRow) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(b.Version, a.Version), cmp.Compare(a.State, b.State))
	})
	failures := map[failureRow]int{}
	day := s.o.Now().Add(-24 * time.Hour)
	for _, m := range machines {
		if m.Seen.After(day) {
			p.Today++
		}
		if m.FailedTimes > 0 && len(failures) < maxGroups {
			failures[failureRow{Version: m.FailedVersion, Code: m.ErrorCode}]++
		}
	}
	for f, n := range failures {
		f.N = n
		p.Failures = append(p.Failures, f)
	}
	slices.SortFunc(p.Failures, func(a, b failureRow) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(b.Version, a.Version), cmp.Compare(a.Code, b.Code))
	})
	return p
}

func row(ch *channel, rule Rule) channelRow {
	r := channelRow{Name: ch.Name, Version: ch.Version, Arch: ch.Arch, Rollout: fmt.Sprintf("%g %%", *rule.Percent)}
	if rule.Paused {
		r.Rollout = "paused"
	}
	if ch.Steps[len(ch.Steps)-1].Full == nil {
		r.Rollout = "no payload"
	}
	r.Floors = strings.Join(rule.Floors, ", ")
	return r
}
