package fleetctl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/unit"
)

// column shows one field of an entry.
type column[T any] func(s *session, entry T) string

// printTable prints entries in the columns that were asked for.
func printTable[T any](s *session, columns map[string]column[T], entries func() ([]T, bool)) int {
	if s.fields == "" {
		s.stderr("Must define output format")
		return exitFailed
	}
	fields := strings.Split(s.fields, ",")
	for _, f := range fields {
		if columns[f] == nil {
			s.stderr("Invalid key in output format: %q", f)
			return exitFailed
		}
		if f == "tmachine" {
			s.stderr("WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead")
		}
	}
	list, ok := entries()
	if !ok {
		return exitFailed
	}
	w := tabwriter.NewWriter(s.Stdout, 0, 8, 1, '\t', 0)
	defer w.Flush()
	if !s.noLegend {
		fmt.Fprintln(w, strings.ToUpper(strings.Join(fields, "\t")))
	}
	for _, entry := range list {
		row := make([]string, len(fields))
		for i, f := range fields {
			row[i] = dash(columns[f](s, entry))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return exitDone
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func runListMachines(s *session) int {
	return printTable(s, map[string]column[*api.Machine]{
		"machine":  func(s *session, m *api.Machine) string { return s.shortMachine(m.ID) },
		"ip":       func(_ *session, m *api.Machine) string { return m.PrimaryIP },
		"metadata": func(_ *session, m *api.Machine) string { return formatMetadata(m.Metadata) },
	}, func() ([]*api.Machine, bool) {
		ctx, cancel := s.request()
		defer cancel()
		list, err := s.client.Machines(ctx)
		if err != nil {
			s.stderr("Error retrieving list of active machines from fleet API (%v)", err)
			s.stderr("Possible issues:")
			s.stderr("  etcd is unhealthy and/or lost quorum")
			s.stderr("  connection cannot be established to any etcd servers")
		}
		return list, err == nil
	})
}

func formatMetadata(metadata map[string]string) string {
	pairs := make([]string, 0, len(metadata))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		pairs = append(pairs, key+"="+metadata[key])
	}
	return strings.Join(pairs, ",")
}

func runListUnits(s *session) int {
	return printTable(s, map[string]column[*api.UnitState]{
		"unit":    func(_ *session, u *api.UnitState) string { return u.Name },
		"load":    func(_ *session, u *api.UnitState) string { return u.SystemdLoadState },
		"active":  func(_ *session, u *api.UnitState) string { return u.SystemdActiveState },
		"sub":     func(_ *session, u *api.UnitState) string { return u.SystemdSubState },
		"machine": func(s *session, u *api.UnitState) string { return s.describeMachine(u.MachineID) },
		"hash":    func(s *session, u *api.UnitState) string { return s.shortHash(u.Hash) },
	}, func() ([]*api.UnitState, bool) {
		ctx, cancel := s.request()
		defer cancel()
		list, err := s.client.States(ctx)
		if err != nil {
			s.stderr("Error retrieving list of units from repository: %v", err)
		}
		return list, err == nil
	})
}

func runListUnitFiles(s *session) int {
	target := func(s *session, u *api.Unit) string {
		if u.Global() {
			return "global"
		}
		return s.describeMachine(u.MachineID)
	}
	return printTable(s, map[string]column[*api.Unit]{
		"unit":     func(_ *session, u *api.Unit) string { return u.Name },
		"global":   func(_ *session, u *api.Unit) string { return strconv.FormatBool(u.Global()) },
		"dstate":   func(_ *session, u *api.Unit) string { return u.DesiredState },
		"target":   target,
		"tmachine": target,
		"state":    func(_ *session, u *api.Unit) string { return u.CurrentState },
		"hash":     func(s *session, u *api.Unit) string { return s.shortHash(u.File().Hash()) },
		"desc":     func(_ *session, u *api.Unit) string { return u.File().Description() },
	}, func() ([]*api.Unit, bool) {
		list, err := s.units()
		if err != nil {
			s.stderr("Error retrieving list of units from repository: %v", err)
		}
		return list, err == nil
	})
}

func (s *session) shortHash(hash string) string {
	if s.full {
		return hash
	}
	return unit.ShortHash(hash)
}

func (s *session) shortMachine(id string) string {
	if s.full {
		return id
	}
	return unit.ShortMachine(id) + "..."
}

// describeMachine is a machine with its address, "" for none.
func (s *session) describeMachine(id string) string {
	if id == "" {
		return ""
	}
	if m := s.lookup(id); m != nil && m.PrimaryIP != "" {
		return s.shortMachine(id) + "/" + m.PrimaryIP
	}
	return s.shortMachine(id)
}

// lookup gives a machine that is present, nil for another. The list is asked
// for once.
func (s *session) lookup(id string) *api.Machine {
	if s.machines == nil {
		s.machines = map[string]*api.Machine{}
		ctx, cancel := s.request()
		defer cancel()
		list, err := s.client.Machines(ctx)
		if err != nil {
			s.debug("machines are not known: %v", err)
		}
		for _, m := range list {
			s.machines[m.ID] = m
		}
	}
	return s.machines[id]
}

func runCat(s *session) int {
	if len(s.args) != 1 {
		s.stderr("One unit file must be provided")
		return exitFailed
	}
	name := unitName(s.args[0])
	u, err := s.unit(name)
	switch {
	case err != nil:
		s.stderr("Error retrieving Unit %s: %v", name, err)
		return exitFailed
	case u == nil:
		s.stderr("Unit %s not found", name)
		return exitFailed
	}
	_, _ = s.Stdout.Write(u.File().Bytes()) // nothing is added: it is the file
	return exitDone
}
