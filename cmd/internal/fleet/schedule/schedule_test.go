package schedule_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// cluster reads a cluster from lines of text:
//
//	machine ID key=value... [draining] [away]
//	NAME desired target [runs=ID] [Option=value]...
func cluster(t testing.TB, text string) *schedule.Cluster {
	t.Helper()
	c := &schedule.Cluster{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		if words[0] == "machine" {
			m := schedule.Machine{ID: words[1], Metadata: map[string]string{}}
			for _, w := range words[2:] {
				if key, value, ok := strings.Cut(w, "="); ok {
					m.Metadata[key] = value
				}
				m.Draining, m.Away = m.Draining || w == "draining", m.Away || w == "away"
			}
			c.Machines = append(c.Machines, m)
			continue
		}
		j := schedule.Job{Name: words[0] + ".service", Desired: unit.State(words[1])}
		if words[2] != "?" {
			j.Target = words[2]
		}
		options := "[X-Fleet]\n"
		for _, w := range words[3:] {
			if id, ok := strings.CutPrefix(w, "runs="); ok {
				j.Runs = id
			} else {
				options += w + "\n"
			}
		}
		f, err := unit.Parse([]byte(options))
		require.NoError(t, err)
		require.NoError(t, unit.CheckFile(j.Name, f))
		j.Rules = f.Rules(j.Name)
		c.Jobs = append(c.Jobs, j)
	}
	return c
}

// describe writes a plan as text.
func describe(p *schedule.Plan) string {
	var b strings.Builder
	show := func(target string) string {
		if target == "" {
			return "?"
		}
		return target
	}
	for _, d := range p.Decisions {
		fmt.Fprintf(&b, "%s %s>%s: %s\n", strings.TrimSuffix(d.Unit, ".service"), show(d.From), show(d.To), d.Reason)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Waiting)) {
		fmt.Fprintf(&b, "%s waits: %s\n", strings.TrimSuffix(name, ".service"), p.Waiting[name])
	}
	return b.String()
}

const fresh = "target state launched and unit not scheduled"

func TestDecide(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"least loaded, lower id first", `
machine m1
machine m2
a launched ?
b launched ?
c launched ?
d launched m2`,
			"a ?>m1: " + fresh + "\nb ?>m1: " + fresh + "\nc ?>m2: " + fresh + "\n"},
		{"nothing to do", "machine m1\na launched m1\nb loaded m1\nc inactive ?", ""},
		{"no machine", "a launched ?", "a waits: zero agents available\n"},
		{"inactive leaves", "machine m1\na inactive m1", "a m1>?: target state inactive\n"},
		{"templates and globals have no target", "machine m1\na@ inactive ?\ng launched ? Global=true\nh launched m1 Global=true",
			"h m1>?: global unit\n"},
		{"machine lost", "machine m2\na launched m1\nb launched m2",
			"a m1>m2: target Machine(m1) went away\n"},
		{"machine lost and no other fits: it may be back", "machine m2\na launched m1 MachineID=m1",
			"a waits: agent ID \"m2\" does not match required \"m1\"\n"},
		{"metadata: one of the values of each key", `
machine m1 region=us disk=ssd
machine m2 region=eu disk=hdd
machine m3 region=eu disk=ssd
a launched ? MachineMetadata="region=eu" MachineMetadata="region=jp" MachineMetadata="disk=ssd"
b launched m1 MachineMetadata=region=eu
c launched ? MachineMetadata=region=jp`, `
a ?>m3: ` + fresh + `
b m1>m2: target Machine(m1) unable to run unit: local Machine metadata insufficient
c waits: no agents able to run job
`},
		{"short id", "machine 32a89c4b1a7a4c8b\nmachine 0000000000000000\na launched ? MachineID=32a89c4b",
			"a ?>32a89c4b1a7a4c8b: " + fresh + "\n"},
		{"conflicts hold in both directions", `
machine m1
machine m2
a launched m1 Conflicts=b.*
b launched ?
c launched ? Conflicts=a*`,
			"b ?>m2: " + fresh + "\nc ?>m2: " + fresh + "\n"},
		{"of two that conflict the later leaves", `
machine m1
machine m2
a launched m1
b launched m1 Conflicts=a.service`,
			"b m1>m2: target Machine(m1) unable to run unit: found conflict with locally-scheduled Unit(a.service)\n"},
		{"and runs nowhere if there is no place", `
machine m1
a launched m1
b launched m1 Conflicts=a.service`,
			"b m1>-: target Machine(m1) unable to run unit: found conflict with locally-scheduled Unit(a.service)\n" +
				"b waits: found conflict with locally-scheduled Unit(a.service)\n"},
		{"nowhere is not for ever", "machine m1\nmachine m2\na launched m1\nb launched - Conflicts=a.service", "b ->m2: " + fresh + "\n"},
		{"a unit that conflicts with its own pattern", "machine m1\nx launched ? Conflicts=x*", "x ?>m1: " + fresh + "\n"},
		{"globals keep others away", `
machine m1 k=v
machine m2
g launched ? Global=true MachineMetadata=k=v Conflicts=a*
a launched ?`, "a ?>m2: " + fresh + "\n"},
		{"a unit that is there keeps a global away", "machine m1\ng launched ? Global=true Conflicts=a*\na launched m1", ""},
		{"followers follow", `
machine m1
machine m2
p launched m2
f launched ? MachineOf=p.service
g launched m1 MachineOf=f.service
h launched ? MachineOf=nobody.service`, `
f ?>m2: ` + fresh + `
g m1>m2: required peer Unit(f.service) is not scheduled locally
h waits: required peer Unit(nobody.service) is not scheduled locally
`},
		{"followers of a unit on a lost machine", `
machine m2
machine m3
a launched m2
f launched m1 MachineOf=p.service
p launched m1`,
			"f m1>m3: target Machine(m1) went away\np m1>m3: target Machine(m1) went away\n"},
		{"with a global unit", "machine m1\nmachine m2 k=v\ng launched ? Global=true MachineMetadata=k=v\nf launched ? MachineOf=g.service",
			"f ?>m2: " + fresh + "\n"},
		{"a circle of followers", "machine m1\na launched ? MachineOf=b.service\nb launched ? MachineOf=a.service",
			"a waits: required peer Unit(b.service) is not scheduled locally\nb waits: required peer Unit(a.service) is not scheduled locally\n"},
		{"replaces", `
machine m1
machine m2
a launched m1
b launched m2
c launched m2
r launched ? Replaces=a.service`,
			"a m1>m2: found replace with locally-scheduled Unit(r.service)\nr ?>m1: " + fresh + "\n"},
		{"replaces, and no other place", "machine m1\na launched m1\nr launched ? Replaces=a.service",
			"a m1>-: found replace with locally-scheduled Unit(r.service)\nr ?>m1: " + fresh + "\na waits: replaced by locally-scheduled Unit(r.service)\n"},
		{"circles of replacement replace nothing", "machine m1\na launched m1 Replaces=b.service\nb launched ? Replaces=a.service", "b ?>m1: " + fresh + "\n"},
		{"a unit stays where it runs", "machine m1\nmachine m2\na launched ? runs=m2\nb launched m2", "a ?>m2: " + fresh + "\n"},
		{"draining", `
machine m1 draining
machine m2
a launched m1
b launched m1 MachineID=m1
c launched ?`,
			"a m1>m2: target Machine(m1) is draining\nc ?>m2: " + fresh + "\n"},
		{"draining, and no other machine", "machine m1 draining\na launched m1\nb launched m1 MachineOf=a.service\nc launched ?", "c waits: no agents able to run job\n"},
		{"away for a moment", "machine m1 away\nmachine m2\na launched m1 MachineMetadata=k=v\nb launched ?\nc launched ?\nd launched m2",
			"b ?>m2: " + fresh + "\nc ?>m2: " + fresh + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.TrimPrefix(c.want, "\n")
			got := describe(schedule.Decide(cluster(t, c.in)))
			assert.Equal(t, want, got)
		})
	}
}

func TestHeld(t *testing.T) {
	c := cluster(t, `
machine m1 k=v
machine m2
a launched m1
b inactive m1
c launched m2
g launched ? Global=true
h loaded ? Global=true MachineMetadata=k=v
i launched ? Global=true Conflicts=a.service
j launched ? Global=true Conflicts=g*
k inactive ? Global=true`)
	assert.Equal(t, []string{"a.service", "g.service", "h.service"}, schedule.Held(&c.Machines[0], c.Jobs))
	assert.Equal(t, []string{"c.service", "g.service", "i.service"}, schedule.Held(&c.Machines[1], c.Jobs))
}
