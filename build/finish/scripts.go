package finish

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"slipway/overlays"
)

// PackageScripts are the maintainer scripts of one package of the image, by
// name ("postinst") with the SHA-256 of the text.
type PackageScripts struct {
	Package string
	Scripts map[string][sha256.Size]byte
}

// ChangeKind says why a maintainer script is reported.
type ChangeKind string

// The kinds of ScriptChange.
const (
	// UnknownPackage: no overlay says anything about the package's scripts.
	UnknownPackage ChangeKind = "unknown"
	// NewScript: the package is known, but not with this script.
	NewScript ChangeKind = "new"
	// ChangedScript: the text is not one that somebody read.
	ChangedScript ChangeKind = "changed"
)

// ScriptChange is a maintainer script that the overlays do not account for.
// The image may lack what it would have done.
type ScriptChange struct {
	Package string
	Script  string
	Kind    ChangeKind
	SHA256  [sha256.Size]byte
}

func (c ScriptChange) String() string {
	what := map[ChangeKind]string{
		UnknownPackage: "no overlay says who does its work",
		NewScript:      "new; no overlay says who does its work",
		ChangedScript:  "changed since somebody read it",
	}[c.Kind]
	return fmt.Sprintf("package %q: %s: %s (sha256 %x)", c.Package, c.Script, what, c.SHA256)
}

// CheckScripts compares the packages' maintainer scripts, none of which runs,
// with what the overlays know of them. The answer is in the order of the
// packages; an empty one means that all are accounted for.
func CheckScripts(config *overlays.Config, packages []PackageScripts) []ScriptChange {
	var changes []ScriptChange
	for _, p := range packages {
		for _, name := range slices.Sorted(maps.Keys(p.Scripts)) {
			sum := p.Scripts[name]
			known, ok := config.Script(p.Package, name)
			if ok && (known.Any != "" || slices.Contains(known.SHA256, fmt.Sprintf("%x", sum))) {
				continue
			}
			change := ScriptChange{p.Package, name, UnknownPackage, sum}
			switch {
			case ok:
				change.Kind = ChangedScript
			case config.KnowsScripts(p.Package):
				change.Kind = NewScript
			}
			changes = append(changes, change)
		}
	}
	return changes
}
