package archive

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway/build/store"
)

// Release is what a verified InRelease says.
type Release struct {
	Origin, Label, Suite, Codename, Version string

	Date       time.Time // when it was made
	ValidUntil time.Time // zero if it never expires
	ByHash     bool      // files are also found by their digest

	Files    map[string]Entry // by path below dists/<suite>/
	SHA256   store.Sum        // of the whole InRelease file
	SignedBy []string         // fingerprints of the keys with a good signature
}

// Entry is one file a Release vouches for.
type Entry struct {
	Size   int64
	SHA256 store.Sum
}

// maxRelease bounds an InRelease file; Debian's have 0.15 MB.
const maxRelease = 16 << 20

// clockSkew is how far a Date may lie ahead: mirrors and builders disagree a
// little about the time.
const clockSkew = 10 * time.Minute

// VerifyRelease checks the signature, the suite's name and the dates of an
// InRelease file and returns what its signed part says. The error is a
// *ReleaseError.
func VerifyRelease(data []byte, o *SuiteOptions) (*Release, error) {
	text, signers, err := verifyClearsigned(data, o)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(string(text))
	if err != nil {
		return nil, &ReleaseError{Suite: o.Suite, Err: ErrBadContents, Detail: err.Error()}
	}
	r.SHA256 = sha256.Sum256(data)
	r.SignedBy = signers
	if err := r.check(o); err != nil {
		return nil, err
	}
	return r, nil
}

// check compares what the file says of itself with what was asked for.
func (r *Release) check(o *SuiteOptions) error {
	refuse := func(err error, format string, args ...any) error {
		return &ReleaseError{Suite: o.Suite, Err: err, Detail: fmt.Sprintf(format, args...)}
	}
	if o.Suite != r.Suite && o.Suite != r.Codename {
		return refuse(ErrWrongSuite, "want %q, got suite %q with code name %q", o.Suite, r.Suite, r.Codename)
	}
	if r.Date.After(o.Now.Add(clockSkew)) {
		return refuse(ErrFuture, "it was made %s, and now is %s", stamp(r.Date), stamp(o.Now))
	}
	if !r.ValidUntil.IsZero() && o.Now.After(r.ValidUntil) && !o.AllowExpired {
		return refuse(ErrExpired, "it was valid until %s, %s ago",
			stamp(r.ValidUntil), age(o.Now.Sub(r.ValidUntil)))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// age rounds a duration to the unit a person would use.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// parseRelease reads the one paragraph of a Release file.
func parseRelease(text string) (*Release, error) {
	r := &Release{Files: map[string]Entry{}}
	section := ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if section == "SHA256" {
				if err := r.addFile(line); err != nil {
					return nil, fmt.Errorf("line %d: %w", number, err)
				}
			}
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: no field in %q", number, clip(line))
		}
		section = key
		if err := r.setField(key, strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if r.Date.IsZero() {
		return nil, fmt.Errorf("no Date")
	}
	return r, nil
}

func (r *Release) setField(key, value string) error {
	var err error
	switch key {
	case "Origin":
		r.Origin = value
	case "Label":
		r.Label = value
	case "Suite":
		r.Suite = value
	case "Codename":
		r.Codename = value
	case "Version":
		r.Version = value
	case "Acquire-By-Hash":
		r.ByHash = value == "yes"
	case "Date":
		r.Date, err = parseDate(value)
	case "Valid-Until":
		r.ValidUntil, err = parseDate(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// parseDate reads a date of RFC 5322 with the zone UTC, GMT or +0000.
func parseDate(value string) (time.Time, error) {
	for _, layout := range []string{
		"Mon, 2 Jan 2006 15:04:05 MST", time.RFC1123, http.TimeFormat, "Mon, 2 Jan 2006 15:04:05 -0700",
	} {
		t, err := time.Parse(layout, value)
		if err == nil {
			// Only the zones named above; for others Go invents an offset of 0.
			if name, offset := t.Zone(); offset == 0 && (name == "UTC" || name == "GMT" || name == "") {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("bad date %q", clip(value))
}

// addFile reads " <sha256> <size> <path>".
func (r *Release) addFile(line string) error {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return fmt.Errorf("SHA256: want digest, size and path, got %q", clip(line))
	}
	sum, err := store.ParseSum(fields[0])
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("size %q: not a number of bytes", clip(fields[1]))
	}
	entry := Entry{Size: size, SHA256: sum}
	if before, ok := r.Files[fields[2]]; ok && before != entry {
		return fmt.Errorf("%s is there twice", clip(fields[2]))
	}
	r.Files[fields[2]] = entry
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
