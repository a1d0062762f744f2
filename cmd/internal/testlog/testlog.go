// Package testlog reads what tests say: the stream of "go test -json", one
// JSON object a line, as cmd/test2json documents it. Whoever tests otherwise
// may write the same lines, of which
//
//	{"Action": "pass", "Test": "NAME"}
//
// is the least: Action is pass, fail or skip. The package runs nothing.
package testlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway/cmd/internal/release"
)

const (
	maxLine  = 4 << 20 // bytes: a console may end up in one
	maxCases = 5000
)

// event is a line of the stream.
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// Results is what a stream says.
type Results struct {
	// Cases are the tests that hold no other ones, and each package that was
	// tested, by its import path: it fails also if something beside its tests
	// does. They are ordered by name.
	Cases []release.Case
	// End is the time of the last line that has one.
	End time.Time
}

// Read reads a stream. The name of the channel is taken out of the names of
// tests, where it follows the function's: TestUpdate/alpha/good-slot is
// TestUpdate/good-slot. A test that began and did not end has failed. Output of
// the tests goes to show, which may be nil.
func Read(r io.Reader, channel string, show io.Writer) (*Results, error) {
	all := map[string]release.Case{}
	results := &Results{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var e event
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("line %d: no event of go test -json: %w", n, err)
		}
		if e.Time.After(results.End) {
			results.End = e.Time
		}
		if e.Output != "" && show != nil {
			if _, err := io.WriteString(show, e.Output); err != nil {
				return nil, err
			}
		}
		name := caseName(&e, channel)
		if c, ok := caseOf(&e, name, all[name]); ok {
			all[name] = c
		}
		if len(all) > maxCases {
			return nil, fmt.Errorf("line %d: more than %d tests", n, maxCases)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	results.Cases = leaves(all)
	if len(results.Cases) == 0 {
		return nil, errors.New("no test in it")
	}
	return results, nil
}

// caseName is the name of an event's test, without the channel; or that of the
// package.
func caseName(e *event, channel string) string {
	if e.Test == "" {
		return e.Package
	}
	parts := strings.Split(e.Test, "/")
	if len(parts) > 1 && parts[1] == channel {
		parts = slices.Delete(parts, 1, 2)
	}
	return strings.Join(parts, "/")
}

// caseOf is what an event makes of a case; ok is false if it says nothing new.
func caseOf(e *event, name string, before release.Case) (c release.Case, ok bool) {
	if name == "" {
		return c, false
	}
	c = release.Case{Name: name, Seconds: e.Elapsed}
	switch e.Action {
	case "pass":
		c.Result = release.Passed
	case "skip":
		c.Result = release.Skipped
	case "fail":
		c.Result = release.Failed
	case "run", "start":
		c.Result = release.Failed // unless it ends well
		return c, before.Name == ""
	default:
		return c, false
	}
	return c, true
}

// leaves are the cases that hold no others.
func leaves(all map[string]release.Case) []release.Case {
	holds := map[string]bool{}
	for name := range all {
		for i, r := range name {
			if r == '/' && strings.HasPrefix(name, "Test") {
				holds[name[:i]] = true
			}
		}
	}
	var list []release.Case
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !holds[name] {
			list = append(list, all[name])
		}
	}
	return list
}
