package archive

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

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
