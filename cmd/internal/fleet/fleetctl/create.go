package fleetctl

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/unit"
)

// unitName makes a unit's name of a path or of what people type.
func unitName(arg string) string { return unit.CompleteName(filepath.Base(arg)) }

// create submits the units that are not there yet: from a file of that name,
// else from a template, in the cluster first. With --replace it also submits
// those that are there and differ, and returns their names.
func (s *session) create(args []string) (replaced []string, err error) {
	for _, arg := range args {
		arg, name := unit.CompleteName(arg), unitName(arg)
		old, err := s.unit(name)
		if err != nil {
			return nil, fmt.Errorf("error retrieving Unit(%s) from Registry: %w", name, err)
		}
		if old != nil {
			is, err := s.isToReplace(arg, old)
			if err != nil {
				return nil, err
			}
			if !is {
				continue
			}
		}
		f, err := s.find(arg, name)
		if err != nil {
			return nil, err
		}
		u := &api.Unit{Name: name, Options: f.Options}
		if err := s.setUnit(u); err != nil {
			return nil, fmt.Errorf("failed creating unit %s: %w", name, err)
		}
		switch {
		case old != nil:
			replaced = append(replaced, name)
		case !u.Global():
			s.stdout("Unit %s %s", name, unit.Inactive)
		}
	}
	return replaced, nil
}

// isToReplace says whether a unit is submitted again, and warns of one that
// differs from its file.
func (s *session) isToReplace(arg string, old *api.Unit) (bool, error) {
	local, path, kind, err := s.local(arg)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !s.replace:
		return false, nil
	case err != nil:
		return false, err
	}
	differs := local.Hash() != old.File().Hash()
	switch {
	case differs && !s.replace:
		s.stderr("WARNING: Unit %s in registry differs from local %s %s. Add --replace to override.", old.Name, kind, path)
		return false, nil
	case !s.replace:
		return false, nil
	case !differs:
		s.stdout("Found same Unit(%s) in Registry, nothing to do", old.Name)
		return false, nil
	}
	return s.mayReplace(old), nil
}

// mayReplace says whether the command may change a unit in its state.
func (s *session) mayReplace(old *api.Unit) bool {
	allowed := map[string][]unit.State{
		"submit": {unit.Inactive},
		"load":   {unit.Inactive, unit.Loaded},
		"start":  {unit.Inactive, unit.Loaded, unit.Launched},
	}
	for _, state := range allowed[s.command.name] {
		if old.DesiredState == string(state) {
			return true
		}
	}
	s.stderr("Warning: can not replace Unit(%s) in state '%s', use the appropriate command", old.Name, old.DesiredState)
	return false
}

// local reads the file of a unit, or the file of its template beside it.
func (s *session) local(arg string) (f *unit.File, path, kind string, err error) {
	f, err = parseFile(arg)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, arg, "unit file", err
	}
	n, ok := unit.SplitName(filepath.Base(arg))
	if !ok || !n.IsInstance() {
		return nil, "", "", err
	}
	path = filepath.Join(filepath.Dir(arg), n.Template)
	f, err = parseFile(path)
	return f, path, "template unit file", err
}

func parseFile(path string) (*unit.File, error) {
	text, err := readFile(path, unit.MaxSize+1)
	if err != nil {
		return nil, err
	}
	return unit.Parse(text)
}

// find gives the file of a unit that is not in the cluster.
func (s *session) find(arg, name string) (*unit.File, error) {
	f, err := parseFile(arg)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("failed getting Unit(%s) from file: %w", arg, err)
	}
	n, ok := unit.SplitName(name)
	if !ok || !n.IsInstance() {
		return nil, fmt.Errorf("unable to find Unit(%s) in Registry or on filesystem", name)
	}
	template, err := s.unit(n.Template)
	if err != nil {
		return nil, fmt.Errorf("error retrieving template Unit(%s) from Registry: %w", n.Template, err)
	}
	if template != nil {
		return template.File(), nil
	}
	path := filepath.Join(filepath.Dir(arg), n.Template)
	f, err = parseFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("unable to find template Unit(%s) in Registry or on filesystem", n.Template)
	case err != nil:
		return nil, fmt.Errorf("unable to load template Unit(%s) from file: %w", n.Template, err)
	}
	return f, nil
}
