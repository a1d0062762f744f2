package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Names of the two archives every Debian machine knows.
const (
	Debian   = "debian"
	Security = "debian-security"
)

// Mirrors maps the name of an archive to the URL of its root, the directory
// that holds dists/ and pool/. Schemes are http, https and file.
type Mirrors map[string]string

// MirrorOptions says where to look for mirrors; the first place that names one
// wins for each archive.
type MirrorOptions struct {
	// Flag is the value of --mirror: a URL for the Debian archive, or
	// NAME=URL, several separated by commas or blanks.
	Flag string
	// Env is the value of $SLIPWAY_MIRROR, of the same form.
	Env string
	// Host is the root of the host's file system, for its apt sources; nil
	// leaves them out.
	Host fs.FS
}

// ErrNoMirror says that no place named a mirror of the Debian archive.
var ErrNoMirror = errors.New("no mirror of the Debian archive is known")

// noMirrorError adds what helps.
type noMirrorError struct{}

func (noMirrorError) Error() string { return ErrNoMirror.Error() }
func (noMirrorError) Unwrap() error { return ErrNoMirror }
func (noMirrorError) Hint() string {
	return "name one: --mirror http://HOST/debian, or set SLIPWAY_MIRROR " +
		"(this host's apt sources have no Debian archive)"
}

// FindMirrors looks in the flag, the environment and the host's apt sources. If
// no place names the security archive it is taken to lie beside the Debian one.
func FindMirrors(o *MirrorOptions) (Mirrors, error) {
	m := Mirrors{}
	for _, from := range []struct{ where, text string }{
		{"--mirror", o.Flag}, {"SLIPWAY_MIRROR", o.Env},
	} {
		given, err := ParseMirrors(from.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from.where, err)
		}
		m.fill(given)
		// Whoever names the one archive means the other beside it too, not
		// the one of the host.
		m.derive()
	}
	if o.Host != nil {
		found, err := hostMirrors(o.Host)
		if err != nil {
			return nil, err
		}
		m.fill(found)
		m.derive()
	}
	if m[Debian] == "" {
		return nil, noMirrorError{}
	}
	return m, nil
}

func (m Mirrors) fill(from Mirrors) {
	for name, u := range from {
		if m[name] == "" {
			m[name] = u
		}
	}
}

// derive names the security archive after the Debian one: the path element
// "debian" becomes "debian-security".
func (m Mirrors) derive() {
	base := m[Debian]
	if base == "" || m[Security] != "" {
		return
	}
	u, err := url.Parse(base)
	if err != nil {
		return
	}
	parts := strings.Split(u.Path, "/")
	if i := slices.Index(parts, Debian); i >= 0 {
		parts[i] = Security
	} else {
		parts[len(parts)-1] += "-security"
	}
	u.Path = strings.Join(parts, "/")
	m[Security] = u.String()
}

// ParseMirrors reads URLs and NAME=URL pairs separated by commas or blanks. A
// URL without a name is that of the Debian archive.
func ParseMirrors(text string) (Mirrors, error) {
	m := Mirrors{}
	separator := func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }
	for _, word := range strings.FieldsFunc(text, separator) {
		name, raw := Debian, word
		if before, after, ok := strings.Cut(word, "="); ok && !strings.ContainsAny(before, ":/") {
			name, raw = before, after
		}
		base, err := baseURL(raw)
		if err != nil {
			return nil, err
		}
		if m[name] != "" {
			return nil, fmt.Errorf("archive %q: two mirrors, %s and %s", name, m[name], base)
		}
		m[name] = base
	}
	return m, nil
}

// baseURL checks a mirror's URL and drops the slash at its end.
func baseURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("mirror %q: not a URL", raw)
	}
	switch {
	case u.Scheme == "file" && u.Path != "":
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	case u.Scheme == "":
		return "", fmt.Errorf("mirror %q: not a URL, want http://, https:// or file:///", raw)
	default:
		return "", fmt.Errorf("mirror %q: scheme %q, want http, https or file", raw, u.Scheme)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawQuery, u.Fragment = "", ""
	return u.String(), nil
}

// source is one entry of apt's sources.
type source struct {
	uri, suite, signedBy string
	components           []string
}

// hostMirrors reads apt's sources and picks the likeliest entry for each
// archive: third parties, too, publish under ".../debian".
func hostMirrors(root fs.FS) (Mirrors, error) {
	sources, err := aptSources(root)
	if err != nil {
		return nil, err
	}
	m := Mirrors{}
	best := map[string]int{}
	for _, s := range sources {
		base, err := baseURL(s.uri)
		if err != nil {
			continue // cdrom:, copy:, mirror: and so on
		}
		u, err := url.Parse(base)
		if err != nil {
			continue
		}
		name := path.Base(u.Path)
		if name != Debian && name != Security || !slices.Contains(s.components, "main") {
			continue
		}
		if score := s.score(u); score > best[name] {
			best[name], m[name] = score, base
		}
	}
	return m, nil
}

// score says how much an entry looks like the distribution's own, at least 1.
func (s *source) score(u *url.URL) int {
	score := 1
	if strings.Contains(s.signedBy, "debian-archive-") {
		score += 4
	}
	if path.Dir(u.Path) == "/" {
		score += 2
	}
	if strings.HasSuffix(s.suite, "-updates") || strings.HasSuffix(s.suite, "-security") {
		score++
	}
	return score
}

// aptSources reads sources.list and sources.list.d in apt's order. Files that
// cannot be read are left out: they are not ours to complain about.
// Formats: https://manpages.debian.org/stable/apt/sources.list.5.html
func aptSources(root fs.FS) ([]source, error) {
	names := []string{"etc/apt/sources.list"}
	for _, pattern := range []string{"etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources"} {
		more, err := fs.Glob(root, pattern)
		if err != nil {
			return nil, fmt.Errorf("list apt sources: %w", err)
		}
		names = append(names, more...)
	}
	var all []source
	for _, name := range names {
		data, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		parse := parseOneLine
		if path.Ext(name) == ".sources" {
			parse = parseDeb822
		}
		for _, s := range parse(string(data)) {
			all = append(all, s.expand(root)...)
		}
	}
	return all, nil
}

// expand replaces mirror+file:, which Debian's cloud images use, by what the
// file lists.
func (s source) expand(root fs.FS) []source {
	name, ok := strings.CutPrefix(s.uri, "mirror+file:")
	if !ok {
		return []source{s}
	}
	data, err := fs.ReadFile(root, strings.TrimLeft(name, "/"))
	if err != nil {
		return nil
	}
	var all []source
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			s.uri = fields[0]
			all = append(all, s)
		}
	}
	return all
}

// parseOneLine reads "deb [options] uri suite component...".
func parseOneLine(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "\t") {
			continue
		}
		var s source
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			for _, option := range strings.Fields(options) {
				if value, ok := strings.CutPrefix(option, "signed-by="); ok {
					s.signedBy = value
				}
			}
			rest = after
		}
		if fields := strings.Fields(rest); len(fields) >= 2 {
			s.uri, s.suite, s.components = fields[0], fields[1], fields[2:]
			all = append(all, s)
		}
	}
	return all
}

// parseDeb822 reads paragraphs with Types, URIs, Suites, Components.
func parseDeb822(text string) []source {
	var all []source
	fields := map[string]string{}
	flush := func() {
		defer clear(fields)
		enabled := strings.ToLower(strings.TrimSpace(fields["enabled"]))
		if enabled == "no" || enabled == "false" || enabled == "0" ||
			!slices.Contains(strings.Fields(fields["types"]), "deb") {
			return
		}
		for _, uri := range strings.Fields(fields["uris"]) {
			for _, suite := range strings.Fields(fields["suites"]) {
				all = append(all, source{
					uri: uri, suite: suite,
					signedBy:   strings.TrimSpace(fields["signed-by"]),
					components: strings.Fields(fields["components"]),
				})
			}
		}
	}
	key := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
			key = ""
		case line[0] == ' ' || line[0] == '\t':
			fields[key] += " " + strings.TrimSpace(line)
		default:
			name, value, _ := strings.Cut(line, ":")
			key = strings.ToLower(strings.TrimSpace(name))
			fields[key] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}
