package finish

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/build/tree"
)

// What CoreOS called its images for amd64, and itself in Omaha.
const (
	coreosBoard = "amd64-usr"
	coreosAppID = "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}"
)

// releaseOrder is the order of the fields people look for; others follow by
// name.
var releaseOrder = [...]string{
	"NAME", "ID", "ID_LIKE", "VERSION", "VERSION_ID", "BUILD_ID", "PRETTY_NAME",
	"VARIANT", "VARIANT_ID",
}

// writeOSRelease writes usr/lib/os-release (os-release(5)) out of the overlays'
// fields and the version, etc/os-release as a link to it, etc/lsb-release for
// the tools that CoreOS machines were asked with, and CoreOS's own file. A development image
// says so in VARIANT_ID, VARIANT and PRETTY_NAME. The channel is not in it:
// the same bytes serve several.
func (r *run) writeOSRelease() error {
	fields := maps.Clone(r.Config.OSRelease)
	if fields == nil {
		fields = map[string]string{}
	}
	fields["NAME"] = cmp.Or(fields["NAME"], "Slipway")
	fields["ID"] = cmp.Or(fields["ID"], "slipway")
	fields["VERSION"], fields["VERSION_ID"] = r.Version, r.Version
	fields["BUILD_ID"] = cmp.Or(r.BuildID, r.Version)
	pretty := fields["NAME"] + " " + r.Version
	if r.Development {
		pretty += " (development image)"
		fields["VARIANT"], fields["VARIANT_ID"] = "Development", "development"
	}
	fields["PRETTY_NAME"] = cmp.Or(fields["PRETTY_NAME"], pretty)
	r.result.OSRelease = []byte(releaseText(fields))
	r.Tree.Remove("usr/lib/os-release")
	if err := r.text("usr/lib/os-release", string(r.result.OSRelease)); err != nil {
		return err
	}
	r.put("etc/os-release", &tree.Node{
		Type: tree.Symlink, Mode: 0o777, Target: "../usr/lib/os-release"})
	// What programs written for CoreOS read, update engines among them.
	if err := r.text("usr/share/coreos/release", fmt.Sprintf(
		"COREOS_RELEASE_VERSION=%s\nCOREOS_RELEASE_BOARD=%s\nCOREOS_RELEASE_APPID=%s\n",
		r.Version, coreosBoard, coreosAppID)); err != nil {
		return err
	}
	return r.text("etc/lsb-release", fmt.Sprintf(
		"DISTRIB_ID=%s\nDISTRIB_RELEASE=%s\nDISTRIB_DESCRIPTION=%s\n",
		quote(fields["NAME"]), r.Version, quote(fields["PRETTY_NAME"])))
}

func releaseText(fields map[string]string) string {
	names := slices.Clone(releaseOrder[:])
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var b strings.Builder
	for _, name := range names {
		if value, ok := fields[name]; ok {
			fmt.Fprintf(&b, "%s=%s\n", name, quote(value))
		}
	}
	return b.String()
}

// quote writes a value as a shell word, in double quotes if it needs any.
func quote(value string) string {
	plain := strings.IndexFunc(value, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.ContainsRune("._-+:/", c))
	}) < 0
	if plain && value != "" {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}
