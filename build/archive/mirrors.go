package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
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
			return nil, fmt.Errorf("archive %q: two mirrors, %s and %s", name, shown(m[name]), shown(base))
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
		return "", fmt.Errorf("mirror %q: scheme %q, want http, https or file", shown(raw), u.Scheme)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawQuery, u.Fragment = "", ""
	return u.String(), nil
}
