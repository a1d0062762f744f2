package lock

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// maxLock bounds a lock file; 139 packages take 0.06 MB.
const maxLock = 16 << 20

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
	l := &Lock{}
	err = yaml.NewDecoder(strings.NewReader(string(data)), yaml.Strict()).Decode(l)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("lock %s: is empty", name)
	}
	if err != nil {
		return nil, yamlError(name, err)
	}
	l.normalize()
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return l, nil
}

// normalize drops what a YAML date may say and Write would not.
func (l *Lock) normalize() {
	l.Date = l.Date.UTC().Truncate(time.Second)
	for i := range l.Suites {
		l.Suites[i].Date = l.Suites[i].Date.UTC().Truncate(time.Second)
	}
}

// yamlError makes "FILE:LINE: fact" of the decoder's many lines.
func yamlError(name string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
		return fmt.Errorf("lock %s:%d: %s", name, y.GetToken().Position.Line, y.GetMessage())
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("lock %s: %s", name, text)
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
	return b.Flush()
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
