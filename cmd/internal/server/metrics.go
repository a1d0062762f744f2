package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/VictoriaMetrics/metrics"

	"slipway/signing/omaha"
)

// counters is what Prometheus is told.
type counters struct {
	set     *metrics.Set
	refused *metrics.Counter
	bytes   *metrics.Counter
}

func newCounters() *counters {
	set := metrics.NewSet()
	return &counters{
		set:     set,
		refused: set.NewCounter("slipway_requests_refused_total"),
		bytes:   set.NewCounter("slipway_payload_bytes_total"),
	}
}

// check counts what a machine was answered.
func (c *counters) check(d *decision) {
	c.set.GetOrCreateCounter(fmt.Sprintf("slipway_update_checks_total{answer=%q}", d.why)).Inc()
}

// event counts an event. Numbers nobody knows are not labels: a machine could
// make as many as it likes.
func (c *counters) event(e *omaha.Event) {
	event, result := "other", "other"
	switch e.Type {
	case omaha.EventUpdateComplete, omaha.EventDownloadStarted, omaha.EventDownloadFinished:
		event = e.Type.String()
	}
	switch e.Result {
	case omaha.ResultError, omaha.ResultSuccess, omaha.ResultSuccessReboot:
		result = e.Result.String()
	}
	c.set.GetOrCreateCounter(fmt.Sprintf("slipway_events_total{event=%q,result=%q}", event, result)).Inc()
	if e.Result == omaha.ResultError {
		c.set.GetOrCreateCounter(fmt.Sprintf("slipway_update_errors_total{code=%q}", codeLabel(e.ErrorCode))).Inc()
	}
}

// codeLabel is an error code that update_engine may send; "other" else.
func codeLabel(code int) string {
	code &^= codeFlags
	if code >= 0 && code < 100 || code >= codeHTTP && code < codeHTTP+600 {
		return strconv.Itoa(code)
	}
	return "other"
}

// serveMetrics answers with the counters and with how the roll-outs go.
func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.metrics.set.WritePrometheus(w)
	writeMachines(w, summarize(s.store.all()))
	contents := s.catalog.get()
	for _, name := range slices.Sorted(maps.Keys(contents.channels)) {
		s.writeChannel(w, contents.channels[name], contents.rules.of(name))
	}
	fmt.Fprintf(w, "slipway_discovery_tokens %d\n", s.discovery.count())
	fmt.Fprintf(w, "slipway_channels_unreadable %d\n", len(contents.problems))
}

// writeChannel says how the version of a channel does.
func (s *Server) writeChannel(w io.Writer, ch *channel, rule Rule) {
	labels := fmt.Sprintf("{channel=%q,version=%q}", ch.Name, ch.Version)
	t := s.store.tally(trial{ch.Name, ch.Version})
	halted := s.halted(ch.Name, ch.Version, &rule)
	fmt.Fprintf(w, "slipway_rollout_percent%s %g\n", labels, *rule.Percent)
	fmt.Fprintf(w, "slipway_rollout_paused%s %d\n", labels, number(rule.Paused))
	fmt.Fprintf(w, "slipway_rollout_halted%s %d\n", labels, number(halted))
	fmt.Fprintf(w, "slipway_rollout_running%s %d\n", labels, t.Running)
	fmt.Fprintf(w, "slipway_rollout_failed%s %d\n", labels, t.Failed)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func writeMachines(w io.Writer, groups map[group]int) {
	order := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Version, b.Version), cmp.Compare(a.State, b.State))
	})
	for _, g := range order {
		fmt.Fprintf(w, "slipway_machines{channel=%q,version=%q,state=%q} %d\n", g.Channel, g.Version, g.State, groups[g])
	}
}
