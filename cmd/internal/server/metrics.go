package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

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
}

// handler answers with the counters and with how many machines run what.
func (c *counters) handler(s *store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		c.set.WritePrometheus(w)
		writeMachines(w, summarize(s.all()))
	})
}

func writeMachines(w io.Writer, groups map[group]int) {
	order := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Version, b.Version), cmp.Compare(a.State, b.State))
	})
	for _, g := range order {
		fmt.Fprintf(w, "slipway_machines{channel=%q,version=%q,state=%q} %d\n", g.Channel, g.Version, g.State, groups[g])
	}
}
