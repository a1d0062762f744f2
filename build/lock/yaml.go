package lock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"slipway/build/store"
)

// maxLock bounds a lock file; 139 packages take 0.06 MB.
const maxLock = 16 << 20

// lockFile is a Lock as the decoder sees it. Digests are strings: with types
// that unmarshal themselves the decoder's time grows with the square of the
// file.
type lockFile struct {
	Format       int           `yaml:"format"`
	Date         string        `yaml:"date"`
	Architecture string        `yaml:"architecture"`
	Suites       []suiteFile   `yaml:"suites"`
	Packages     []packageFile `yaml:"packages"`
	Programs     []programFile `yaml:"programs"`
}

type suiteFile struct {
	Archive    string   `yaml:"archive"`
	Suite      string   `yaml:"suite"`
	Components []string `yaml:"components"`
	InRelease  string   `yaml:"inrelease"`
	Date       string   `yaml:"date"`
}

type packageFile struct {
	Name         string            `yaml:"name"`
	Version      string            `yaml:"version"`
	Architecture string            `yaml:"architecture"`
	Archive      string            `yaml:"archive"`
	Path         string            `yaml:"path"`
	Size         int64             `yaml:"size"`
	SHA256       string            `yaml:"sha256"`
	Why          string            `yaml:"why"`
	Scripts      map[string]string `yaml:"scripts"`
}

type programFile struct {
	Path    string `yaml:"path"`
	Package string `yaml:"package"`
	Version string `yaml:"version"`
	Sources string `yaml:"sources"`
	Why     string `yaml:"why"`
}

// Read reads a lock file and validates it. An unknown key is an error. The name
// is for errors, which also give the line where there is one.
func Read(r io.Reader, name string) (*Lock, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxLock+1))
	if err != nil {
		return nil, fmt.Errorf("read lock %s: %w", name, err)
	}
	if len(data) > maxLock {
		return nil, fmt.Errorf("lock %s: larger than %d bytes", name, maxLock)
	}
	f := &lockFile{}
	err = decode(data, f)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("lock %s: is empty", name)
	}
	if err != nil {
		return nil, yamlError(name, err)
	}
	l, err := f.lock()
	if err == nil {
		err = l.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, &problems{err})
	}
	return l, nil
}

// decode turns the panics into which the YAML package falls over a few kinds
// of nonsense (a tag without a value) into errors.
func decode(data []byte, f *lockFile) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("not understood as YAML: %v", reason)
		}
	}()
	return yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(f)
}

// problems shows the first of joined errors and the number of the others, as a
// message has one line.
type problems struct{ error }

func (p *problems) Unwrap() error { return p.error }

func (p *problems) Error() string {
	first, rest, more := strings.Cut(p.error.Error(), "\n")
	if !more {
		return first
	}
	return fmt.Sprintf("%s (and %d more)", first, 1+strings.Count(rest, "\n"))
}

// lock reads digests and makes dates what Write would write.
func (f *lockFile) lock() (*Lock, error) {
	l := &Lock{Format: f.Format, Architecture: f.Architecture}
	var errs []error
	date := func(what, text string) time.Time {
		if text == "" {
			return time.Time{} // Validate tells
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: want one like 2026-03-09T22:17:43Z", what, text))
		}
		return t.UTC().Truncate(time.Second)
	}
	l.Date = date("date", f.Date)
	sum := func(what, text string) store.Sum {
		if text == "" {
			return store.Sum{} // Validate tells
		}
		parsed, err := store.ParseSum(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return parsed
	}
	for _, s := range f.Suites {
		what := fmt.Sprintf("suite %q", s.Suite)
		l.Suites = append(l.Suites, Suite{
			Archive: s.Archive, Suite: s.Suite, Components: s.Components,
			InRelease: sum(what, s.InRelease), Date: date(what+": date", s.Date),
		})
	}
	for _, p := range f.Packages {
		what := fmt.Sprintf("package %q", p.Name)
		out := Package{
			Name: p.Name, Version: p.Version, Architecture: p.Architecture, Archive: p.Archive,
			Path: p.Path, Size: p.Size, SHA256: sum(what, p.SHA256), Why: p.Why,
		}
		for script, text := range p.Scripts {
			if out.Scripts == nil {
				out.Scripts = map[string]store.Sum{}
			}
			out.Scripts[script] = sum(what+": "+script, text)
		}
		l.Packages = append(l.Packages, out)
	}
	for _, p := range f.Programs {
		l.Programs = append(l.Programs, Program{
			Path: p.Path, Package: p.Package, Version: p.Version, Why: p.Why,
			Sources: sum(fmt.Sprintf("program %q", p.Path), p.Sources),
		})
	}
	return l, errors.Join(errs...)
}

// yamlError makes "FILE:LINE: fact" of the decoder's many lines.
func yamlError(name string, err error) error {
	var wrong *yaml.TypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("lock %s:%d: want %s, got %q",
			name, wrong.Token.Position.Line, kind(wrong.DstType), wrong.Token.Value)
	}
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
		return fmt.Errorf("lock %s:%d: %s", name, y.GetToken().Position.Line, y.GetMessage())
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("lock %s: %s", name, text)
}

// kind names a Go type as people who edit YAML would.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	}
	return "text"
}

// Write writes the lock, the same bytes for the same lock.
func (l *Lock) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "format: %d\n", l.Format)
	fmt.Fprintf(b, "date: %s\n", l.Date.UTC().Format(time.RFC3339))
	fmt.Fprintf(b, "architecture: %s\n", scalar(l.Architecture))
	fmt.Fprint(b, "suites:\n")
	for _, s := range l.Suites {
		fmt.Fprintf(b, "- archive: %s\n", scalar(s.Archive))
		fmt.Fprintf(b, "  suite: %s\n", scalar(s.Suite))
		components := make([]string, len(s.Components))
		for i, c := range s.Components {
			components[i] = scalar(c)
		}
		fmt.Fprintf(b, "  components: [%s]\n", strings.Join(components, ", "))
		fmt.Fprintf(b, "  inrelease: %q\n", s.InRelease)
		fmt.Fprintf(b, "  date: %s\n", s.Date.UTC().Format(time.RFC3339))
	}
	fmt.Fprint(b, "packages:\n")
	for i := range l.Packages {
		l.Packages[i].write(b)
	}
	if len(l.Programs) > 0 {
		fmt.Fprint(b, "programs:\n")
	}
	for i := range l.Programs {
		l.Programs[i].write(b)
	}
	return b.Flush()
}

func (p *Program) write(b *bufio.Writer) {
	fmt.Fprintf(b, "- path: %s\n", quote(p.Path))
	fmt.Fprintf(b, "  package: %s\n", quote(p.Package))
	if p.Version != "" {
		fmt.Fprintf(b, "  version: %s\n", quote(p.Version))
	}
	fmt.Fprintf(b, "  sources: %q\n", p.Sources)
	fmt.Fprintf(b, "  why: %s\n", quote(p.Why))
}

func (p *Package) write(b *bufio.Writer) {
	fmt.Fprintf(b, "- name: %s\n", scalar(p.Name))
	fmt.Fprintf(b, "  version: %s\n", quote(p.Version))
	fmt.Fprintf(b, "  architecture: %s\n", scalar(p.Architecture))
	fmt.Fprintf(b, "  archive: %s\n", scalar(p.Archive))
	fmt.Fprintf(b, "  path: %s\n", quote(p.Path))
	fmt.Fprintf(b, "  size: %d\n", p.Size)
	fmt.Fprintf(b, "  sha256: %q\n", p.SHA256)
	fmt.Fprintf(b, "  why: %s\n", quote(p.Why))
	if len(p.Scripts) == 0 {
		return
	}
	fmt.Fprint(b, "  scripts:\n")
	var names []string
	for name := range p.Scripts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "    %s: %q\n", scalar(name), p.Scripts[name])
	}
}

// scalar writes a word plainly if YAML cannot take it for anything else.
func scalar(s string) string {
	switch s {
	case "", "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return quote(s)
	}
	if s[0] < 'a' || s[0] > 'z' {
		return quote(s)
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("+-./", c) {
			return quote(s)
		}
	}
	return s
}

// quote writes a double-quoted string that is the same in YAML and in Go.
func quote(s string) string { return strconv.QuoteToASCII(s) }
