package agent_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/agent"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// view reads a registry from lines of text:
//
//	machine ID
//	NAME uid desired target [Option=value]...
//	destroyed NAME uid
func view(t testing.TB, text string) *registry.View {
	t.Helper()
	v := &registry.View{
		Cluster: &registry.Cluster{ID: "c"}, Machines: map[string]*registry.Machine{},
		Jobs: map[string]*registry.Job{}, Destroyed: map[string]registry.Tombstone{},
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "machine":
			v.Machines[words[1]] = &registry.Machine{ID: words[1]}
		case words[0] == "destroyed":
			v.Destroyed[words[1]] = registry.Tombstone{UID: words[2]}
		default:
			v.Jobs[words[0]] = job(t, words[0], words[1], unit.State(words[2]), words[3], words[4:])
		}
	}
	return v
}

func job(t testing.TB, name, uid string, desired unit.State, target string, options []string) *registry.Job {
	if target == "?" {
		target = ""
	}
	f, err := unit.Parse([]byte("[X-Fleet]\n" + strings.Join(options, "\n") + "\n"))
	require.NoError(t, err)
	return &registry.Job{
		Name: name, UID: uid, Hash: f.Hash()[:4], Text: string(f.Bytes()), Rules: f.Rules(name), Desired: desired, Target: target,
	}
}

// has reads what a machine has from lines "NAME uid hash state", "-" for no
// uid and "=" for the hash of an empty unit.
func has(text string) map[string]agent.Unit {
	units := map[string]agent.Unit{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if words := strings.Fields(line); len(words) > 0 {
			empty := unit.File{}
			hash := strings.ReplaceAll(words[2], "=", empty.Hash()[:4])
			units[words[0]] = agent.Unit{
				UID: strings.Trim(words[1], "-"), Hash: hash, State: unit.State(words[3]), Elsewhere: len(words) > 4,
			}
		}
	}
	return units
}

func TestPlan(t *testing.T) {
	for _, c := range []struct{ name, has, view, want string }{
		{"loads and starts", "", "machine m\na.service 1 launched m\nb.service 1 loaded m\nc.service 1 launched n",
			"load a.service, load b.service, start a.service"},
		{"nothing to do", "a.service 1 = launched", "machine m\na.service 1 launched m", ""},
		{"starts and stops", "a.service 1 = loaded\nb.service 1 = launched", "machine m\na.service 1 launched m\nb.service 1 loaded m",
			"stop b.service, start a.service"},
		{"another file", "a.service 1 beef launched", "machine m\na.service 1 launched m", "unload a.service, load a.service, start a.service"},
		{"the order of actions", "z.service 1 = launched\ny.service 1 = launched\nx.service 1 beef loaded",
			"machine m\nz.service 1 inactive m\ny.service 1 loaded m\nx.service 1 loaded m\nw.service 1 launched m",
			"unload x.service, unload z.service, load w.service, load x.service, stop y.service, start w.service"},
		{"moved", "a.service 1 = launched", "machine m\na.service 1 launched n", "unload a.service"},
		{"must not run anywhere", "a.service 1 = launched", "machine m\na.service 1 launched -", "unload a.service"},
		{"destroyed", "a.service 1 = launched", "machine m\ndestroyed a.service 1", "unload a.service"},
		{"a namesake was destroyed", "a.service 1 = launched", "machine m\ndestroyed a.service 2",
			"a.service: registry does not know the unit"},
		{"empty registry", "a.service 1 = launched\nb.service 1 = loaded", "machine m",
			"a.service: registry does not know the unit, b.service: registry does not know the unit"},
		{"nobody decided yet", "a.service 1 = launched", "machine m\na.service 1 launched ?",
			"a.service: nobody decided yet where the unit runs"},
		{"of another registry, submitted again", "a.service - = launched", "machine m\na.service 1 inactive ?",
			"a.service: registry does not want the unit yet"},
		{"of another registry, wanted elsewhere", "a.service - = launched", "machine m\na.service 1 launched n",
			"a.service: unit does not run yet where the registry wants it"},
		{"and it runs there", "a.service - = launched elsewhere", "machine m\na.service 1 launched n", "unload a.service"},
		{"of another registry, wanted here", "a.service - = launched", "machine m\na.service 1 launched m", ""},
		{"global", "", "machine m\ng.service 1 launched ? Global=true\nh.service 1 launched ? Global=true MachineMetadata=a=b",
			"load g.service, start g.service"},
		{"global, not for this machine", "h.service 1 9f54 launched", "machine m\nh.service 1 launched ? Global=true MachineMetadata=a=b", "unload h.service"},
		{"global, and the machine is not present", "h.service 1 9f54 launched", "h.service 1 launched ? Global=true",
			"h.service: machine is not present in the registry"},
		{"units with a target need no presence", "", "a.service 1 launched m", "load a.service, start a.service"},
		{"templates do not run", "", "machine m\na@.service 1 inactive ?", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tasks, holds := agent.Plan(has(c.has), view(t, c.view), "m")
			var got []string
			for _, task := range tasks {
				got = append(got, fmt.Sprintf("%s %s", task.Action, task.Unit))
			}
			for _, name := range slices.Sorted(maps.Keys(holds)) {
				got = append(got, name+": "+holds[name])
			}
			assert.Equal(t, c.want, strings.Join(got, ", "))
		})
	}
}
