package archive

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"slipway/build/store"
)

// Package is one binary package of an index. Relation fields are as written,
// unfolded to one line; package resolver reads them.
type Package struct {
	Name         string
	Version      string
	Architecture string // of the package: an architecture or "all"
	Source       string // name of the source package, with its version if other

	Depends, PreDepends, Provides, Conflicts, Breaks, Replaces string

	Essential     bool
	Priority      string
	Section       string
	MultiArch     string
	InstalledSize int64 // bytes, as the maintainer's tools estimated them

	Path   string // below the mirror's root
	Size   int64
	SHA256 store.Sum

	// Where the index came from.
	Archive, Suite, Component string
}

// String is name and version.
func (p *Package) String() string { return p.Name + " " + p.Version }

// Download is what Fetch needs to get the package.
func (p *Package) Download() Download {
	return Download{Name: p.String(), Archive: p.Archive, Path: p.Path, Size: p.Size, SHA256: p.SHA256}
}

// parsePackage reads one paragraph of a Packages file.
// Fields: https://www.debian.org/doc/debian-policy/ch-controlfields.html
func parsePackage(paragraph []byte) (*Package, error) {
	p := &Package{}
	var last *string
	for len(paragraph) > 0 {
		var line []byte
		line, paragraph, _ = bytes.Cut(paragraph, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last != nil {
				*last += " " + string(bytes.TrimSpace(line))
			}
			continue
		}
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return nil, fmt.Errorf("package %q: no field in %q", p.Name, clip(string(line)))
		}
		var err error
		last, err = p.setField(key, bytes.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("package %q: %w", p.Name, err)
		}
	}
	return p, p.check()
}

// setField stores a field's value and says where its continuation lines go.
func (p *Package) setField(key, value []byte) (*string, error) {
	var text *string
	switch string(key) {
	case "Package":
		text = &p.Name
	case "Version":
		text = &p.Version
	case "Architecture":
		text = &p.Architecture
	case "Source":
		text = &p.Source
	case "Depends":
		text = &p.Depends
	case "Pre-Depends":
		text = &p.PreDepends
	case "Provides":
		text = &p.Provides
	case "Conflicts":
		text = &p.Conflicts
	case "Breaks":
		text = &p.Breaks
	case "Replaces":
		text = &p.Replaces
	case "Priority":
		text = &p.Priority
	case "Section":
		text = &p.Section
	case "Multi-Arch":
		text = &p.MultiArch
	case "Filename":
		text = &p.Path
	case "Essential":
		p.Essential = string(value) == "yes"
	case "Size", "Installed-Size":
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || n < 0 || n > 1<<50 {
			return nil, fmt.Errorf("%s %q: not a size", key, clip(string(value)))
		}
		if string(key) == "Size" {
			p.Size = n
		} else {
			p.InstalledSize = n * 1024 // the field counts KiB
		}
	case "SHA256":
		sum, err := store.ParseSum(string(value))
		p.SHA256 = sum
		return nil, err
	}
	if text != nil {
		*text = string(value)
	}
	return text, nil
}

// check demands what a package cannot do without.
func (p *Package) check() error {
	p.Path = strings.TrimPrefix(p.Path, "./")
	switch {
	case p.Name == "" || strings.ContainsAny(p.Name, " /\t"):
		return fmt.Errorf("package %q: bad name", clip(p.Name))
	case p.Version == "":
		return fmt.Errorf("package %q: no Version", p.Name)
	case p.SHA256 == store.Sum{}:
		return fmt.Errorf("package %q: no SHA256", p.Name)
	case !ValidPath(p.Path):
		return fmt.Errorf("package %q: bad Filename %q", p.Name, clip(p.Path))
	}
	return nil
}
