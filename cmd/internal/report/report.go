// Package report tells a person or a program how long work proceeds: bars on a
// terminal, one plain line per finished step elsewhere, or one JSON object per
// line. It holds no logic of the work itself.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Mode is how a Report shows itself.
type Mode int

// The three ways to show progress.
const (
	Plain    Mode = iota // a line per finished step
	Terminal             // bars that move, then the same lines
	JSON                 // an object per line: {"event": ...}
)

// Report is safe for use by several goroutines.
type Report struct {
	mu    sync.Mutex
	w     io.Writer
	mode  Mode
	bars  *mpb.Progress
	clock func() time.Time
	log   []string
}

// New returns a report that writes to w. The clock serves only to show how
// long a step took; nothing that is built depends on it.
func New(w io.Writer, mode Mode, clock func() time.Time) *Report {
	r := &Report{w: w, mode: mode, clock: clock}
	if mode == Terminal {
		r.bars = mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(100*time.Millisecond), mpb.WithAutoRefresh())
		r.w = r.bars
	}
	return r
}

// Event is one line of the JSON mode.
type Event struct {
	Event   string  `json:"event"` // step, progress, done, warning, result
	Step    string  `json:"step,omitempty"`
	Done    int64   `json:"done,omitempty"`  // bytes or items
	Total   int64   `json:"total,omitempty"` // bytes or items
	Text    string  `json:"text,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Result  any     `json:"result,omitempty"`
}

func (r *Report) emit(e Event) {
	line, err := json.Marshal(e)
	if err != nil {
		line = []byte(`{"event":"warning","text":"event cannot be encoded"}`)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.w, "%s\n", line)
}

func (r *Report) line(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.w, format+"\n", args...)
}

// Warn shows one line that does not stop the work.
func (r *Report) Warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.mode == JSON {
		r.emit(Event{Event: "warning", Text: text})
		return
	}
	r.line("warning: %s", text)
}

// Result ends a JSON stream with the answer of the command. In the other modes
// the command prints its answer itself, and Result does nothing.
func (r *Report) Result(v any) {
	if r.mode == JSON {
		r.emit(Event{Event: "result", Result: v})
	}
}

// Close ends all bars. Call it before printing anything else to the terminal.
func (r *Report) Close() {
	if r.bars != nil {
		r.bars.Shutdown()
	}
}

// Log gives what each finished LoggedStep said, without times: equal work
// gives an equal log.
func (r *Report) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.log...)
}

// Step is one part of the work. Call Done or Fail once.
type Step struct {
	r     *Report
	name  string
	start time.Time
	bar   *mpb.Bar
	last  time.Time
	log   bool
	mu    sync.Mutex
}

// Step begins a part of the work.
func (r *Report) Step(name string) *Step {
	if r.mode == JSON {
		r.emit(Event{Event: "step", Step: name})
	}
	now := r.clock()
	return &Step{r: r, name: name, start: now, last: now}
}

// LoggedStep is a Step whose outcome depends on the inputs alone, not on what
// caches hold, and stands in Log.
func (r *Report) LoggedStep(name string) *Step {
	s := r.Step(name)
	s.log = true
	return s
}

// Progress says how many of total bytes are done. It may be called often and
// from several goroutines.
func (s *Step) Progress(done, total int64) {
	s.progress(done, total, decor.CountersKibiByte("% .1f / % .1f"))
}

// Count is Progress for things that are counted, not measured.
func (s *Step) Count(done, total int64) {
	s.progress(done, total, decor.CountersNoUnit("%d / %d"))
}

func (s *Step) progress(done, total int64, counters decor.Decorator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.r.mode {
	case Terminal:
		if s.bar == nil {
			s.bar = s.r.bars.AddBar(total, mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-10s", s.name))),
				mpb.AppendDecorators(counters))
		}
		s.bar.SetTotal(total, false)
		s.bar.SetCurrent(done)
	case JSON:
		now := s.r.clock()
		if now.Sub(s.last) < 200*time.Millisecond && done < total {
			return
		}
		s.last = now
		s.r.emit(Event{Event: "progress", Step: s.name, Done: done, Total: total})
	}
}

// Done ends the step with a few words on what came out.
func (s *Step) Done(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.endBar()
	seconds := s.r.clock().Sub(s.start).Seconds()
	if s.log {
		s.r.mu.Lock()
		s.r.log = append(s.r.log, fmt.Sprintf("%-10s %s", s.name, text))
		s.r.mu.Unlock()
	}
	if s.r.mode == JSON {
		s.r.emit(Event{Event: "done", Step: s.name, Text: text, Seconds: seconds})
		return
	}
	s.r.line("%-10s %s (%.1f s)", s.name, text, seconds)
}

// Fail ends the step without a line: the error itself is shown by the command.
func (s *Step) Fail() { s.endBar() }

func (s *Step) endBar() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		s.bar.Abort(true)
		s.bar.Wait()
		s.bar = nil
	}
}
