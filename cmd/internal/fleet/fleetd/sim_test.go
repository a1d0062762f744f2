package fleetd_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

// simulation is a fleet whose every start and stop is written down.
type simulation struct {
	*fleet
	requests fleettest.Requests

	mu    sync.Mutex
	stops []string
}

func newSimulation(t testing.TB, machines int, ttl time.Duration) *simulation {
	s := &simulation{fleet: newFleet(t, 3, machines, ttl)}
	for i, m := range s.machines {
		m.Requests = &s.requests
		m.Metadata = map[string]string{"rack": fmt.Sprint(i % 5)}
		m.Systemd.Log = func(unit, what string) {
			if what == "stop" {
				s.mu.Lock()
				s.stops = append(s.stops, fmt.Sprintf("%s on machine %d", unit, i))
				s.mu.Unlock()
			}
		}
	}
	return s
}

// stopped gives the units that were stopped since it was asked before.
func (s *simulation) stopped() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.stops
	s.stops = nil
	return all
}

// submit launches units: most are plain, some are global, follow others,
// conflict or ask for metadata.
func (s *simulation) submit(from, to int) {
	s.t.Helper()
	var wg sync.WaitGroup
	numbers := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range numbers {
				name, text := simUnit(i)
				if err := s.create(name, file(s.t, text)); err != nil {
					s.t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	for i := from; i < to; i++ {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
}

// create creates a unit. It may take several attempts when etcd is in trouble.
func (s *simulation) create(name string, f *unit.File) (err error) {
	for range 10 {
		err = s.r.CreateUnit(s.t.Context(), name, uuid.NewString(), f, unit.Launched)
		if err == nil || errors.Is(err, registry.ErrExists) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func simUnit(i int) (name, text string) {
	name = fmt.Sprintf("u%04d.service", i)
	text = "[Unit]\nDescription=simulated\n[Service]\nExecStart=/usr/bin/docker run busybox\n[X-Fleet]\n"
	switch {
	case i%250 == 0:
		text += "Global=true\nMachineMetadata=rack=1\nMachineMetadata=rack=2\n"
	case i%20 == 1:
		name = fmt.Sprintf("c%02d@%d.service", i/200, i)
		text += "Conflicts=%p@*.service\n"
	case i%20 == 2:
		text += fmt.Sprintf("MachineOf=u%04d.service\n", i+1)
	case i%20 == 3:
		text += "MachineMetadata=rack=3\n"
	}
	return name, text
}

// converged says whether everything runs as it must; if not, what does not. It
// looks at what machines run, not at what the registry says of it.
func (s *simulation) converged() string {
	v, err := s.r.Load(s.t.Context())
	if err != nil {
		return err.Error()
	}
	on := map[string][]string{}
	for _, m := range s.machines {
		if !m.Running() {
			continue
		}
		running := slices.Sorted(maps.Keys(m.Systemd.Running()))
		if v.Machines[m.ID] == nil {
			return m.ID + " is not present"
		}
		sm := v.Machines[m.ID].Schedulable()
		if want := schedule.Held(&sm, v.Schedule().Jobs); !slices.Equal(want, running) {
			return fmt.Sprintf("%s runs %d units, has to run %d", m.ID, len(running), len(want))
		}
		for _, name := range running {
			on[name] = append(on[name], m.ID)
		}
	}
	for name, job := range v.Jobs {
		if !job.Rules.Global && len(on[name]) != 1 {
			return fmt.Sprintf("%s runs on %v", name, on[name])
		}
	}
	if plan := schedule.Decide(v.Schedule()); len(plan.Decisions)+len(plan.Waiting) > 0 {
		return fmt.Sprintf("%d decisions to make, %d units wait", len(plan.Decisions), len(plan.Waiting))
	}
	return ""
}

// patience is for a machine that is busy with other things. What is promised is
// checked with -full.
const patience = 90 * time.Second

// converge waits until everything runs as it must. With -full that may take no
// longer than is promised.
func (s *simulation) converge(what string, promised time.Duration) time.Duration {
	s.t.Helper()
	within := patience
	if *full {
		within = promised
	}
	begin := time.Now()
	var why string
	for why = s.converged(); why != ""; why = s.converged() {
		if time.Since(begin) > within {
			require.FailNow(s.t, what+": not in "+within.String(), why)
		}
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(begin)
	s.t.Logf("%-45s %v", what, took.Round(10*time.Millisecond))
	return took
}

// rates gives requests per second and revisions, that is writes, per second,
// once everything has been said that was to say.
func (s *simulation) rates(over time.Duration) (requests map[string]float64, writes float64) {
	before := s.revision()
	s.eventually("nothing is written for two seconds", func() bool {
		time.Sleep(2 * time.Second)
		last := before
		before = s.revision()
		return before == last
	})
	s.requests.Take()
	time.Sleep(over)
	requests = map[string]float64{}
	for method, n := range s.requests.Take() {
		requests[method] = float64(n) / over.Seconds()
	}
	// The revision is the whole etcd's: only the fleet writes to it.
	writes = float64(s.revision()-before) / over.Seconds()
	return requests, writes
}

func (s *simulation) revision() int64 {
	v, err := s.r.Load(s.t.Context())
	require.NoError(s.t, err)
	return v.Revision
}

// leader is the machine whose engine leads.
func (s *simulation) leader() *fleettest.Machine {
	var leader *fleettest.Machine
	s.eventually("an engine leads", func() bool {
		v, err := s.r.Load(s.t.Context())
		if err != nil || v.Leader == nil {
			return false
		}
		for _, m := range s.machines {
			if m.ID == v.Leader.MachineID {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}

// 3 members of etcd, 50 machines, 1000 units. Nothing that runs on a machine
// that lives is ever stopped, but for units that moved while it was away.
func TestSimulation(t *testing.T) {
	t.Parallel()
	const ttl = 15 * time.Second
	s := newSimulation(t, 50, ttl)
	s.start()
	s.eventually("all present", func() bool {
		v, err := s.r.Load(t.Context())
		return err == nil && len(v.Machines) == 50
	})
	s.requests.Take()
	before, begin := s.revision(), time.Now()
	s.submit(0, 1000)
	t.Logf("%-45s %v", "1000 units submitted", time.Since(begin).Round(10*time.Millisecond))
	s.converge("1000 units on 50 machines", 30*time.Second)
	took := time.Since(begin)
	t.Logf("%-45s %v, %d writes, requests %v", "from the first submit", took.Round(10*time.Millisecond),
		s.revision()-before, s.requests.Take())
	if *full {
		assert.Less(t, took, 30*time.Second)
	}
	assert.Empty(t, s.stopped())

	requests, writes := s.rates(10 * time.Second)
	t.Logf("%-45s %.2f writes/s, requests/s %.2v", "idle, 50 machines", writes, requests)
	assert.LessOrEqual(t, writes, 5.0, "one each second for ten machines")

	rnd := rand.New(rand.NewPCG(1, 1))
	var dead []*fleettest.Machine
	for _, i := range rnd.Perm(50)[:5] {
		dead = append(dead, s.machines[i])
	}
	if !slices.Contains(dead, s.leader()) {
		dead[0] = s.leader()
	}
	for _, m := range dead {
		m.Kill()
	}
	s.converge("5 machines killed, the engine's among them", ttl*3/2)
	assert.Empty(t, s.stopped())

	for _, m := range dead {
		m.Start()
	}
	s.converge("they are back, with what they ran", 10*time.Second)
	assert.NotEmpty(t, s.stopped(), "what had moved")
	assert.Empty(t, s.stopped())

	// With a member of etcd that hangs, and one that is cut off, work goes on.
	leader := s.etcd.Leader()
	leader.Pause()
	s.submit(1000, 1010)
	s.converge("10 more units while etcd's leader hangs", 30*time.Second)
	time.Sleep(ttl / 3)
	leader.Resume()
	s.etcd.Leader().Isolate()
	s.submit(1010, 1020)
	s.converge("10 more units while etcd's leader is cut off", 30*time.Second)
	time.Sleep(ttl / 3)
	s.converge("it still is", time.Second)
	s.etcd.Heal()
	s.converge("and is back", 30*time.Second)
	assert.Empty(t, s.stopped())
}
