// Package window is the time of the week in which a machine may restart by
// itself, in the notation of CoreOS's locksmith: a start, "Thu 23:00" every week
// or "14:00" every day, and a length. It computes and does not wait.
package window

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	hoursPerDay    = 24
	minutesPerHour = 60
	daysPerWeek    = 7
	everyDay       = -1
)

// Window is a time that comes again every day or week, in the time zone of the
// times it is asked about. The zero value never comes.
type Window struct {
	day    int // of the week, as time.Weekday; everyDay
	hour   int
	minute int
	length time.Duration
}

// Span is one time that a window is open.
type Span struct{ Start, End time.Time }

// Parse reads a start and a length, a Go duration such as "1h30m". A window must
// be closed at some time: a daily one is shorter than a day, a weekly one than a
// week.
func Parse(start, length string) (*Window, error) {
	w, err := parseStart(start)
	if err != nil {
		return nil, err
	}
	w.length, err = time.ParseDuration(length)
	if err != nil {
		return nil, fmt.Errorf("length %.40q is not a time such as 1h30m", length)
	}
	most := hoursPerDay * time.Hour
	if w.day != everyDay {
		most *= daysPerWeek
	}
	if w.length <= 0 || w.length >= most {
		return nil, fmt.Errorf("length %s: want more than 0 and less than %s", w.length, most)
	}
	return w, nil
}

func parseStart(text string) (*Window, error) {
	w := &Window{day: everyDay}
	words := strings.Fields(text)
	if len(words) == 2 {
		if w.day = dayOf(words[0]); w.day < 0 {
			return nil, fmt.Errorf("start %.40q: %q is not one of Sun, Mon, Tue, Wed, Thu, Fri, Sat", text, words[0])
		}
		words = words[1:]
	}
	if len(words) != 1 {
		return nil, fmt.Errorf("start %.40q is not a time such as 14:00 or Thu 23:00", text)
	}
	hour, minute, _ := strings.Cut(words[0], ":")
	var errs [2]error
	w.hour, errs[0] = number(hour, hoursPerDay)
	w.minute, errs[1] = number(minute, minutesPerHour)
	if errors.Join(errs[:]...) != nil {
		return nil, fmt.Errorf("start %.40q: %q is not a time of day from 0:00 to 23:59", text, words[0])
	}
	return w, nil
}

func dayOf(name string) int {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(name, d.String()[:3]) {
			return int(d)
		}
	}
	return -1
}

// number reads one or two digits below a limit.
func number(text string, limit int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || len(text) > 2 || int(n) >= limit {
		return 0, errors.New("out of range")
	}
	return int(n), nil
}

// Never says whether the window never comes.
func (w *Window) Never() bool { return w.length == 0 }

// At gives the span that a time is in, else the next one. It ends after the time
// in either case. A window that never comes has no spans, and ok is false.
//
// Spans start at the wall clock's time, also on days that are shorter or longer.
func (w *Window) At(now time.Time) (s Span, ok bool) {
	if w.Never() {
		return Span{}, false
	}
	back := 1
	if w.day != everyDay {
		back = daysPerWeek
	}
	for day := -back; ; day++ {
		date := time.Date(now.Year(), now.Month(), now.Day()+day, 0, 0, 0, 0, time.UTC)
		if w.day != everyDay && int(date.Weekday()) != w.day {
			continue
		}
		start := time.Date(date.Year(), date.Month(), date.Day(), w.hour, w.minute, 0, 0, now.Location())
		if end := start.Add(w.length); end.After(now) {
			return Span{start, end}, true
		}
	}
}

// Wait is how long it is from a time until the window is open, 0 if it is.
func (s Span) Wait(now time.Time) time.Duration { return max(0, s.Start.Sub(now)) }

// String is the window as it is written.
func (w *Window) String() string {
	if w.Never() {
		return "never"
	}
	day := ""
	if w.day != everyDay {
		day = time.Weekday(w.day).String()[:3] + " "
	}
	return fmt.Sprintf("%s%02d:%02d for %s", day, w.hour, w.minute, w.length)
}
