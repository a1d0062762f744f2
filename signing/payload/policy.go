package payload

import (
	"fmt"
	"strconv"
	"strings"
)

// Host is what a machine runs and what it lets itself be changed to.
type Host struct {
	Name         string // of the operating system
	Version      string // that runs
	Architecture string // Debian's word
	RootHash     string // of the running slot's dm-verity tree, hex

	// LowestVersion is the oldest version the machine accepts, whatever else
	// is allowed; empty: any.
	LowestVersion string
	Downgrade     bool // accept a version older than the one that runs
	Development   bool // accept what was signed with a development key
}

// Check says why a machine must not apply the payload, if so. It looks at
// nothing but the versions and names; give it to Apply in Accept.
func (i *Info) Check(h *Host) error {
	version, err := parseVersion(i.Version)
	if err != nil {
		return err
	}
	running, err := parseVersion(h.Version)
	if err != nil {
		return err
	}
	minimum, err := parseVersion(i.MinimumVersion)
	if err != nil {
		return err
	}
	lowest, err := parseVersion(h.LowestVersion)
	if err != nil {
		return err
	}
	switch {
	case i.Name != h.Name:
		return fmt.Errorf("payload: of %q, this machine runs %q", i.Name, h.Name)
	case i.Architecture != h.Architecture:
		return fmt.Errorf("payload: for %q, this machine is %q", i.Architecture, h.Architecture)
	case i.Development && !h.Development:
		return fmt.Errorf("payload: version %s is signed with a development key", i.Version)
	case version.less(lowest):
		return fmt.Errorf("payload: version %s, this machine accepts %s or newer", i.Version, h.LowestVersion)
	case version.less(running) && !h.Downgrade:
		return fmt.Errorf("payload: version %s is older than %s, which runs", i.Version, h.Version)
	case running.less(minimum):
		return fmt.Errorf("payload: version %s replaces %s or newer, this machine runs %s",
			i.Version, i.MinimumVersion, h.Version)
	case i.SourceVersion != "" && i.SourceVersion != h.Version:
		return fmt.Errorf("payload: leads from version %s to %s, this machine runs %s",
			i.SourceVersion, i.Version, h.Version)
	case i.SourceRootHash != "" && i.SourceRootHash != h.RootHash:
		return fmt.Errorf("payload: leads from another build of version %s: root hash %.16s, this machine runs %.16s",
			i.SourceVersion, i.SourceRootHash, h.RootHash)
	}
	return nil
}

// version is MAJOR.MINOR.PATCH.
type version [3]uint64

// parseVersion reads a version; an empty one is older than all others.
func parseVersion(s string) (v version, err error) {
	if s == "" {
		return v, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) != len(v) {
		return v, fmt.Errorf("version %.40q is not MAJOR.MINOR.PATCH", s)
	}
	for i, p := range parts {
		if v[i], err = strconv.ParseUint(p, 10, 32); err != nil {
			return v, fmt.Errorf("version %.40q is not MAJOR.MINOR.PATCH", s)
		}
	}
	return v, nil
}

func (v version) less(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}
