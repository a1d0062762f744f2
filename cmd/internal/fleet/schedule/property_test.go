package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// world is a cluster that changes at random.
type world struct {
	*rand.Rand
	schedule.Cluster
	names int
}

func (w *world) machineID() string { return fmt.Sprintf("m%02d", w.IntN(12)) }

func (w *world) machine() schedule.Machine {
	w.names++
	return schedule.Machine{
		ID: w.machineID(), Draining: w.IntN(8) == 0, Away: w.IntN(8) == 0,
		Metadata: map[string]string{"k": fmt.Sprint(w.IntN(3)), "l": fmt.Sprint(w.IntN(2))},
	}
}

func (w *world) pattern() string { return fmt.Sprintf("%c*", 'a'+rune(w.IntN(6))) }

// job makes a unit with rules that CheckFile allows.
func (w *world) job() schedule.Job {
	w.names++
	r := &unit.Rules{}
	if w.IntN(4) == 0 {
		r.Metadata = map[string][]string{"k": {fmt.Sprint(w.IntN(3)), fmt.Sprint(w.IntN(3))}}
	}
	switch w.IntN(8) {
	case 0:
		r.Global = true
		if w.IntN(2) == 0 {
			r.Conflicts = []string{w.pattern()}
		}
	case 1, 2:
		r.Conflicts = []string{w.pattern()}
	case 3:
		if len(w.Jobs) > 0 {
			r.Peers = []string{w.Jobs[w.IntN(len(w.Jobs))].Name}
		}
	case 4:
		r.Replaces = []string{w.pattern()}
	case 5:
		r.MachineID = w.machineID()
	}
	j := schedule.Job{Name: fmt.Sprintf("%c%d.service", 'a'+rune(w.IntN(6)), w.names), Rules: r, Desired: unit.Launched}
	if w.IntN(10) == 0 {
		j.Target = w.machineID() // as nobody would have decided
	}
	return j
}

// change does something that happens in a cluster.
func (w *world) change() {
	switch w.IntN(8) {
	case 0, 1:
		m := w.machine()
		w.Machines = slices.DeleteFunc(w.Machines, func(o schedule.Machine) bool { return o.ID == m.ID })
		w.Machines = append(w.Machines, m)
	case 2:
		if n := len(w.Machines); n > 0 {
			w.Machines = slices.Delete(w.Machines, 0, 1+w.IntN(n)/3)
		}
	case 3:
		if n := len(w.Machines); n > 0 {
			m := &w.Machines[w.IntN(n)]
			m.Draining, m.Away = w.IntN(2) == 0, w.IntN(4) == 0
		}
	case 4:
		if n := len(w.Jobs); n > 0 {
			w.Jobs[w.IntN(n)].Desired = []unit.State{unit.Inactive, unit.Loaded, unit.Launched}[w.IntN(3)]
		}
	case 5:
		if n := len(w.Jobs); n > 0 {
			i := w.IntN(n)
			w.Jobs[i].Rules = w.job().Rules
		}
	default:
		for range 1 + w.IntN(6) {
			w.Jobs = append(w.Jobs, w.job())
		}
	}
}

func (w *world) shuffled() *schedule.Cluster {
	c := &schedule.Cluster{Machines: slices.Clone(w.Machines), Jobs: slices.Clone(w.Jobs)}
	w.Shuffle(len(c.Machines), func(i, j int) { c.Machines[i], c.Machines[j] = c.Machines[j], c.Machines[i] })
	w.Shuffle(len(c.Jobs), func(i, j int) { c.Jobs[i], c.Jobs[j] = c.Jobs[j], c.Jobs[i] })
	return c
}

// text shows the cluster.
func (w *world) text() string {
	var b strings.Builder
	for _, m := range w.Machines {
		fmt.Fprintf(&b, "%+v\n", m)
	}
	for _, j := range w.Jobs {
		fmt.Fprintf(&b, "%s %s %q %+v\n", j.Name, j.Desired, j.Target, *j.Rules)
	}
	return b.String()
}

func (w *world) apply(p *schedule.Plan) {
	for _, d := range p.Decisions {
		j := w.find(d.Unit)
		if j.Target != d.From {
			panic("decision about another target")
		}
		j.Target = d.To
	}
}

func (w *world) find(name string) *schedule.Job {
	return &w.Jobs[slices.IndexFunc(w.Jobs, func(j schedule.Job) bool { return j.Name == name })]
}

// The rules once more, as plainly as can be.

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

func conflict(a, b *schedule.Job) bool {
	return a.Name != b.Name && (matches(a.Rules.Conflicts, b.Name) || matches(b.Rules.Conflicts, a.Name))
}

func suits(m *schedule.Machine, j *schedule.Job) bool {
	if j.Rules.MachineID != "" && j.Rules.MachineID != m.ID {
		return false
	}
	for key, values := range j.Rules.Metadata {
		if !slices.Contains(values, m.Metadata[key]) {
			return false
		}
	}
	return true
}

// replaces says whether one unit replaces another and is not replaced by it in
// turn, over however many others.
func (w *world) replaces(a, b *schedule.Job) bool {
	if a.Name == b.Name || !matches(a.Rules.Replaces, b.Name) {
		return false
	}
	reached := map[string]bool{b.Name: true}
	for range w.Jobs {
		for i := range w.Jobs {
			for k := range w.Jobs {
				from, to := &w.Jobs[i], &w.Jobs[k]
				if reached[from.Name] && from.Name != to.Name && matches(from.Rules.Replaces, to.Name) {
					reached[to.Name] = true
				}
			}
		}
	}
	return !reached[a.Name]
}

// allows says whether a unit could be on a machine with what is there.
func (w *world) allows(m *schedule.Machine, held []string, j *schedule.Job) bool {
	if m.Away {
		return j.Target == m.ID
	}
	if !suits(m, j) {
		return false
	}
	for _, name := range held {
		if other := w.find(name); name != j.Name && (conflict(j, other) || !j.Rules.Global && w.replaces(other, j)) {
			return false
		}
	}
	for _, peer := range j.Rules.Peers {
		if !slices.Contains(held, peer) {
			return false
		}
	}
	return true
}

func (w *world) check(t *testing.T, p *schedule.Plan) {
	held := map[string][]string{}
	for i := range w.Machines {
		m := &w.Machines[i]
		held[m.ID] = schedule.Held(m, w.Jobs)
		for _, name := range held[m.ID] {
			j := w.find(name)
			assert.True(t, m.Away || w.allows(m, held[m.ID], j), "%s must not be on %s with %v", name, m.ID, held[m.ID])
		}
		for k := range w.Jobs {
			j := &w.Jobs[k]
			if j.Rules.Global && j.Desired != unit.Inactive && !m.Away && !slices.Contains(held[m.ID], j.Name) {
				assert.False(t, w.allows(m, held[m.ID], j), "global %s is not on %s", j.Name, m.ID)
			}
		}
	}
	for i := range w.Jobs {
		j := &w.Jobs[i]
		_, waits := p.Waiting[j.Name]
		switch {
		case j.Desired == unit.Inactive || j.Rules.Global:
			assert.Empty(t, j.Target)
			assert.False(t, waits)
		case held[j.Target] != nil:
			assert.Contains(t, held[j.Target], j.Name)
			assert.False(t, waits, j.Name)
		default:
			assert.True(t, waits, "%s is nowhere and does not wait", j.Name)
			for k := range w.Machines {
				m := &w.Machines[k]
				assert.True(t, m.Draining || !w.allows(m, held[m.ID], j), "%s waits, and %s would take it", j.Name, m.ID)
			}
		}
	}
	w.checkMoves(t, p, held)
}

// checkMoves checks that nothing was moved that could stay.
func (w *world) checkMoves(t *testing.T, p *schedule.Plan, held map[string][]string) {
	for _, d := range p.Decisions {
		j := w.find(d.Unit)
		i := slices.IndexFunc(w.Machines, func(m schedule.Machine) bool { return m.ID == d.From })
		if i < 0 || w.Machines[i].Draining || j.Desired == unit.Inactive || j.Rules.Global {
			continue
		}
		if w.Machines[i].Away {
			assert.Contains(t, d.Reason, "required peer", "%s was moved off %s", d.Unit, d.From)
			continue
		}
		assert.False(t, w.allows(&w.Machines[i], held[d.From], j), "%s was moved off %s: %s", d.Unit, d.From, d.Reason)
	}
}

func TestInvariants(t *testing.T) {
	rounds := uint64(300)
	if testing.Short() {
		rounds = 60
	}
	for seed := range rounds {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 1))}
		for step := range 30 {
			w.change()
			p := schedule.Decide(w.shuffled())
			require.Equal(t, describe(p), describe(schedule.Decide(w.shuffled())), "seed %d step %d: order matters", seed, step)
			w.apply(p)
			w.check(t, p)
			again := schedule.Decide(w.shuffled())
			if !assert.Empty(t, again.Decisions, "not stable") || t.Failed() {
				t.Logf("plan:\n%s", describe(p))
				t.Fatalf("seed %d step %d\n%s", seed, step, w.text())
			}
		}
	}
}

// Units without rules are spread evenly, also when they come one by one.
func TestBalance(t *testing.T) {
	for seed := range uint64(50) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 2))}
		for i := range 1 + w.IntN(20) {
			w.Machines = append(w.Machines, schedule.Machine{ID: fmt.Sprintf("m%02d", i)})
		}
		for n := w.IntN(200); n > 0; {
			for range min(n, 1+w.IntN(40)) {
				n--
				w.names++
				w.Jobs = append(w.Jobs, schedule.Job{Name: fmt.Sprintf("a%d.service", w.names), Rules: &unit.Rules{}, Desired: unit.Launched})
			}
			w.apply(schedule.Decide(w.shuffled()))
			var sizes []int
			for i := range w.Machines {
				sizes = append(sizes, len(schedule.Held(&w.Machines[i], w.Jobs)))
			}
			require.LessOrEqual(t, slices.Max(sizes)-slices.Min(sizes), 1, "seed %d: %v", seed, sizes)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	w := &world{Rand: rand.New(rand.NewPCG(1, 3))}
	for i := range 50 {
		w.Machines = append(w.Machines, schedule.Machine{ID: fmt.Sprintf("m%02d", i), Metadata: map[string]string{"k": fmt.Sprint(i % 3)}})
	}
	for range 1000 {
		w.Jobs = append(w.Jobs, w.job())
	}
	for b.Loop() {
		schedule.Decide(&w.Cluster)
	}
}
