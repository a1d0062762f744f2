package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Rules say where a unit may run: the section [X-Fleet], specifiers replaced.
type Rules struct {
	// Global units run on every machine that the other rules allow.
	Global bool
	// MachineID is the id of the only machine to run on, or its first eight
	// characters; "" for any.
	MachineID string
	// Metadata are the values, by key, of which a machine has to have one for
	// each key.
	Metadata map[string][]string
	// Peers are units that have to be on the same machine (MachineOf).
	Peers []string
	// Conflicts are patterns (path.Match) of units that must not be on the same
	// machine.
	Conflicts []string
	// Replaces are patterns of units that have to leave the machine.
	Replaces []string
}

// CheckFile says what is wrong with a unit of a name. A unit that passes can
// be stored.
func CheckFile(name string, f *File) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := f.survives(); err != nil {
		return err
	}
	for _, o := range f.Options {
		if o.Section == section && !known(o.Name) {
			return fmt.Errorf("unrecognized requirement in [X-Fleet] section: %q", o.Name)
		}
	}
	if err := f.checkValues(name); err != nil {
		return err
	}
	return f.Rules(name).check(name)
}

// known says whether fleet has an option, the deprecated ones included.
func known(option string) bool {
	return slices.Contains([]string{
		"Global", "MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Replaces",
		"X-ConditionMachineID", "X-ConditionMachineBootID", "X-ConditionMachineOf",
		"X-ConditionMachineMetadata", "X-Conflicts",
	}, option)
}

// values gives the values of options of [X-Fleet] in the order of the names.
func (f *File) values(name string, options ...string) []string {
	n, ok := SplitName(name)
	var list []string
	for _, option := range options {
		for _, o := range f.Options {
			if o.Section != section || o.Name != option {
				continue
			}
			for _, v := range splitQuoted(o.Value) {
				if ok {
					v = n.expand(v)
				}
				list = append(list, v)
			}
		}
	}
	return list
}

// splitQuoted takes a line of quoted values apart: "a=b" "c=d". A line that
// does not begin and end with a quote is one value.
func splitQuoted(line string) []string {
	if len(line) < 2 || line[0] != '"' || line[len(line)-1] != '"' {
		return []string{line}
	}
	var list []string
	var value strings.Builder
	quoted := false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			list = append(list, value.String())
			value.Reset()
		default:
			value.WriteRune(r)
		}
	}
	return append(list, value.String())
}

// Rules reads the rules of a unit. What CheckFile refuses is left out.
func (f *File) Rules(name string) *Rules {
	r := &Rules{
		Peers:     nonEmpty(f.values(name, "X-ConditionMachineOf", "MachineOf")),
		Conflicts: fields(f.values(name, "X-Conflicts", "Conflicts")),
		Replaces:  nonEmpty(f.values(name, "Replaces")),
	}
	if ids := nonEmpty(f.values(name, "MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID")); len(ids) > 0 {
		r.MachineID = ids[0]
	}
	for _, pair := range f.values(name, "X-ConditionMachineMetadata", "MachineMetadata") {
		if key, value, ok := metadataPair(pair); ok {
			if r.Metadata == nil {
				r.Metadata = map[string][]string{}
			}
			r.Metadata[key] = append(r.Metadata[key], value)
		}
	}
	if values := f.values(name, "Global"); len(values) > 0 {
		r.Global = isTrue(values[len(values)-1])
	}
	return r
}

// metadataPair takes "key=value" apart.
func metadataPair(s string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(s, "=")
	return key, value, ok && key != "" && value != "" && !strings.Contains(value, "=")
}

func isTrue(s string) bool {
	return slices.Contains([]string{"true", "yes", "1", "on", "t"}, strings.ToLower(s))
}

func isFalse(s string) bool {
	return slices.Contains([]string{"", "false", "no", "0", "off", "f"}, strings.ToLower(s))
}

func nonEmpty(list []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func fields(list []string) []string {
	var all []string
	for _, s := range list {
		all = append(all, strings.Fields(s)...)
	}
	return all
}

// checkValues says which value makes no sense by itself.
func (f *File) checkValues(name string) error {
	for _, v := range f.values(name, "Global") {
		if !isTrue(v) && !isFalse(v) {
			return fmt.Errorf("malformed Global %q: want true or false", v)
		}
	}
	for _, v := range f.values(name, "X-ConditionMachineMetadata", "MachineMetadata") {
		if _, _, ok := metadataPair(v); !ok {
			return fmt.Errorf("malformed MachineMetadata %q: want key=value", v)
		}
	}
	r := f.Rules(name)
	for _, pattern := range slices.Concat(r.Conflicts, r.Replaces) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("malformed pattern %q: %w", pattern, err)
		}
	}
	for _, peer := range r.Peers {
		if err := CheckName(peer); err != nil {
			return fmt.Errorf("malformed MachineOf %q: %w", peer, err)
		}
	}
	return nil
}

// check says which rules cannot hold together.
func (r *Rules) check(name string) error {
	for _, peer := range r.Peers {
		if peer == name {
			return CycleError{"MachineOf", []string{name, name}}
		}
		for _, c := range r.Conflicts {
			if Match(c, peer) {
				return fmt.Errorf("unresolvable requirements: peer %q matches conflict %q", peer, c)
			}
		}
		for _, c := range r.Replaces {
			if Match(c, peer) {
				return fmt.Errorf("unresolvable requirements: peer %q matches replace %q", peer, c)
			}
		}
	}
	switch {
	case r.MachineID != "" && len(r.Peers) > 0:
		return errors.New("MachineID cannot be used with Peers")
	case r.MachineID != "" && len(r.Conflicts) > 0:
		return errors.New("MachineID cannot be used with Conflicts")
	case r.MachineID != "" && r.Global:
		return errors.New("MachineID cannot be used with Global")
	case r.MachineID != "" && len(r.Replaces) > 0:
		return errors.New("MachineID cannot be used with Replaces")
	case r.Global && len(r.Peers) > 0:
		return errors.New("Global cannot be used with Peers")
	case r.Global && len(r.Replaces) > 0:
		return errors.New("Global cannot be used with Replaces")
	case len(r.Conflicts) > 0 && len(r.Replaces) > 0:
		return errors.New("Conflicts cannot be used with Replaces")
	}
	return nil
}

// Match says whether a pattern fits a unit's name.
func Match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// MatchAny says whether one of the patterns fits a unit's name.
func MatchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, name) })
}

// MatchMachine says whether an id is meant by MachineID.
func MatchMachine(wanted, id string) bool {
	return wanted != "" && (wanted == id || wanted == ShortMachine(id))
}

// ShortMachine is a machine's id as lists show it.
func ShortMachine(id string) string { return id[:min(len(id), 8)] }
