package release

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Evidence is what tests said of the bytes of a release: the document in
// evidence.json. It is added to after the release was made, and goes along
// when the release is promoted.
type Evidence struct {
	Format  int    `json:"format"` // 1
	Name    string `json:"name"`   // of the system
	Version string `json:"version"`
	Runs    []Run  `json:"runs"` // oldest first
}

// Run is one run of tests.
type Run struct {
	By      string `json:"by"`      // who ran them, "slipway test" unless somebody else
	Slipway string `json:"slipway"` // what recorded them: a revision of the sources, or their digest
	Date    string `json:"date"`    // RFC 3339, of the end; "" if the results do not say
	Channel string `json:"channel"` // of the release that was tested
	// Files are the digests of all files of that release by name: that of
	// Entry.Chunks for the disk image, else SHA-256.
	Files map[string]string `json:"files"`
	Cases []Case            `json:"cases"`
}

// Case is the result of one test.
type Case struct {
	Name    string  `json:"name"`
	Result  Result  `json:"result"`
	Seconds float64 `json:"seconds,omitempty"`
}

// Result is what became of a case.
type Result string

// The results.
const (
	Passed  Result = "pass"
	Failed  Result = "fail"
	Skipped Result = "skip"
)

const (
	maxRuns  = 100
	maxCases = 5000
)

// Validate checks bounds and results.
func (e *Evidence) Validate() error {
	switch {
	case e.Format != 1:
		return fmt.Errorf("evidence: format %d, want 1", e.Format)
	case len(e.Runs) > maxRuns:
		return fmt.Errorf("evidence: %d runs, want at most %d", len(e.Runs), maxRuns)
	}
	for _, r := range e.Runs {
		if len(r.Cases) == 0 || len(r.Cases) > maxCases {
			return fmt.Errorf("evidence: a run of %d cases, want 1 to %d", len(r.Cases), maxCases)
		}
		for _, c := range r.Cases {
			if c.Name == "" || !slices.Contains([]Result{Passed, Failed, Skipped}, c.Result) {
				return fmt.Errorf("evidence: case %.80q: result %.20q: neither pass, fail nor skip", c.Name, c.Result)
			}
		}
	}
	return nil
}

// Digests are the digests of a release's files, as in Run.Files.
func (i *Info) Digests() map[string]string {
	list := map[string]string{}
	for _, e := range i.Files {
		list[e.Name] = e.SHA256
		if e.Chunks != "" {
			list[e.Name] = e.Chunks
		}
	}
	return list
}

// covers says whether a run tested the bytes of a release. The disk image of a
// promoted release differs, in the name of its channel only.
func (r *Run) covers(i *Info) bool {
	want := i.Digests()
	if want[Slot] == "" {
		return false
	}
	for name, digest := range want {
		if name == Disk && r.Channel != i.Channel {
			continue
		}
		if r.Files[name] != digest {
			return false
		}
	}
	return true
}

// EvidenceError says what a release lacks to be promoted.
type EvidenceError struct {
	Failed  []string // cases that failed when they ran last
	Missing []string // cases that are required and did not pass
}

// Error names the first cases.
func (e *EvidenceError) Error() string {
	if len(e.Failed) > 0 {
		return fmt.Sprintf("%s: failed: %s", EvidenceFile, few(e.Failed))
	}
	return fmt.Sprintf("%s: not passed on these bytes: %s", EvidenceFile, few(e.Missing))
}

// few lists the first names.
func few(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Check says whether the required cases passed on exactly the bytes of a
// release, and none failed. Of a case that ran several times, the last run
// counts. It gives the number of cases that passed.
func (e *Evidence) Check(i *Info, required []string) (int, error) {
	last := map[string]Result{}
	if e.Name == i.Name && e.Version == i.Version {
		for _, r := range e.Runs {
			if !r.covers(i) {
				continue
			}
			for _, c := range r.Cases {
				if c.Result != Skipped {
					last[c.Name] = c.Result
				}
			}
		}
	}
	problem, passed := &EvidenceError{}, 0
	for name, result := range last {
		if result == Failed {
			problem.Failed = append(problem.Failed, name)
		} else {
			passed++
		}
	}
	for _, name := range required {
		if last[name] != Passed {
			problem.Missing = append(problem.Missing, name)
		}
	}
	if len(problem.Failed)+len(problem.Missing) > 0 {
		slices.Sort(problem.Failed)
		return passed, problem
	}
	return passed, nil
}

// Add gives evidence with one more run on a release. Runs on other bytes are
// left out: they say nothing about it. e may be nil.
func (e *Evidence) Add(i *Info, r Run) *Evidence {
	next := &Evidence{Format: 1, Name: i.Name, Version: i.Version}
	if e != nil && e.Name == i.Name && e.Version == i.Version {
		for _, old := range e.Runs {
			if old.covers(i) {
				next.Runs = append(next.Runs, old)
			}
		}
	}
	next.Runs = append(next.Runs, r)
	return next
}

// NewEvidence prepares evidence for signing.
func NewEvidence(e *Evidence) (*Document[*Evidence], error) { return newDocument("evidence", e) }

// ReadEvidence reads the evidence of a release's directory without verifying
// it; the error wraps fs.ErrNotExist if there is none.
func ReadEvidence(dir string) (*Document[*Evidence], error) {
	return readDocument(filepath.Join(dir, EvidenceFile), "evidence", new(Evidence))
}

// WriteEvidence puts signed evidence into the directory of its release.
func WriteEvidence(dir string, d *Document[*Evidence]) error {
	return d.write(filepath.Join(dir, EvidenceFile))
}
