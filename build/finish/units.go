package finish

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"slipway/build/tree"
)

const (
	unitDir = "usr/lib/systemd/system/"
	// presetFile sorts before every package's preset and ends with a rule
	// that matches all units: what the overlays do not enable stays off, now
	// and whenever somebody runs `systemctl preset-all` on the machine.
	presetFile = "usr/lib/systemd/system-preset/00-slipway.preset"
)

// writePresets writes the preset file out of the overlays' unit lists, masks
// units and sets the default target. The links that enabling makes come from
// systemctl, later. A unit that is enabled and exists nowhere is an error;
// one that is masked or disabled may be gone.
func (r *run) writePresets() error {
	units := r.Config.Units
	var b strings.Builder
	b.WriteString("# The units that the overlays of this image enable; all others stay off.\n")
	var problems []error
	for _, name := range units.Enable {
		if r.Tree.Lookup(unitDir+name) == nil && r.Tree.Lookup("etc/systemd/system/"+name) == nil {
			problems = append(problems, fmt.Errorf(
				"unit %q: enabled by an overlay, but nothing brings it", name))
		}
	}
	for _, name := range slices.Sorted(slices.Values(units.Disable)) {
		fmt.Fprintf(&b, "disable %s\n", name)
	}
	for _, name := range slices.Sorted(slices.Values(units.Enable)) {
		fmt.Fprintf(&b, "enable %s\n", name)
	}
	b.WriteString("disable *\n")
	if err := r.text(presetFile, b.String()); err != nil {
		problems = append(problems, err)
	}
	for _, name := range units.Mask {
		r.put("etc/systemd/system/"+name, &tree.Node{
			Type: tree.Symlink, Mode: 0o777, Target: "/dev/null"})
	}
	if units.Default != "" {
		if r.Tree.Lookup(unitDir+units.Default) == nil {
			problems = append(problems, fmt.Errorf(
				"unit %q: the default, but nothing brings it", units.Default))
		}
		r.put(unitDir+"default.target", &tree.Node{
			Type: tree.Symlink, Mode: 0o777, Target: units.Default})
	}
	return errors.Join(problems...)
}
