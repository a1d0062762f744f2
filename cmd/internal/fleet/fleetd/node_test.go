package fleetd_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

const ttl = 3 * time.Second

func file(t testing.TB, text string) *unit.File {
	f, err := unit.Parse([]byte(text))
	require.NoError(t, err)
	return f
}

// fleet is some machines and a registry.
type fleet struct {
	t        testing.TB
	etcd     *etcdtest.Cluster
	machines []*fleettest.Machine
	r        *registry.Registry
}

func newFleet(t testing.TB, members, machines int, ttl time.Duration) *fleet {
	f := &fleet{t: t, etcd: etcdtest.Start(t, &etcdtest.Options{
		Members: members, Environment: []string{"ETCD_UNSAFE_NO_FSYNC=true"}, // the disk is not what is tested
	})}
	client, err := fleettest.NewClient(f.etcd.Endpoints(), ttl, nil)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	f.r = registry.New(client, registry.DefaultPrefix, fleettest.Timeout)
	for i := range machines {
		m := fleettest.NewMachine(t, f.etcd.Endpoints(), i+1, ttl)
		m.Verbose = testing.Verbose() && machines < 5
		f.machines = append(f.machines, m)
	}
	return f
}

func (f *fleet) start() {
	for _, m := range f.machines {
		if !m.Running() {
			m.Start()
		}
	}
}

func (f *fleet) launch(name, text string) {
	f.t.Helper()
	require.NoError(f.t, f.r.CreateUnit(f.t.Context(), name, "uid-"+name, file(f.t, text), unit.Launched))
}

// where gives the numbers of the machines that run a unit.
func (f *fleet) where(name string) []int {
	var all []int
	for i, m := range f.machines {
		if m.Systemd.Running()[name] > 0 {
			all = append(all, i)
		}
	}
	return all
}

func (f *fleet) eventually(what string, ok func() bool) time.Duration {
	f.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			require.FailNow(f.t, "not in time: "+what)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return time.Since(begin)
}

func TestUnitsRunOnOneMachineEach(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 3, ttl)
	f.start()
	const text = "[Service]\nExecStart=/bin/true\n"
	for _, name := range []string{"a.service", "b.service", "c.service"} {
		f.launch(name, text)
	}
	f.launch("g.service", text+"[X-Fleet]\nGlobal=true\n")
	f.eventually("all run", func() bool {
		return len(f.where("a.service")) == 1 && len(f.where("b.service")) == 1 && len(f.where("c.service")) == 1 &&
			len(f.where("g.service")) == 3
	})
	assert.ElementsMatch(t, []int{0, 1, 2},
		slices.Concat(f.where("a.service"), f.where("b.service"), f.where("c.service")), "one each")

	// A machine dies: its unit moves; the others do not.
	dead := f.where("a.service")[0]
	f.machines[dead].Kill()
	took := f.eventually("a runs elsewhere", func() bool { return len(f.where("a.service")) == 2 })
	t.Logf("failover took %v of a TTL of %v", took, ttl)

	// It comes back, and the unit is there once.
	f.machines[dead].Start()
	f.eventually("a runs once", func() bool {
		return len(f.where("a.service")) == 1 && f.where("a.service")[0] != dead
	})
	stops := 0
	for _, m := range f.machines {
		stops += m.Systemd.Stops()
	}
	assert.Equal(t, 1, stops)

	// Restarted agents start and stop nothing.
	for _, m := range f.machines {
		before := m.Systemd.Starts()
		m.Stop()
		m.Start()
		f.eventually("present", func() bool { return m.Node.Presence.Current() != 0 })
		assert.Equal(t, before, m.Systemd.Starts())
	}

	require.NoError(t, f.r.SetDesired(t.Context(), "b.service", unit.Loaded))
	require.NoError(t, f.r.DestroyUnit(t.Context(), "g.service", time.Now()))
	f.eventually("b stopped, g gone", func() bool {
		return len(f.where("b.service")) == 0 && len(f.where("g.service")) == 0
	})
	f.eventually("reports", func() bool {
		running, err := f.r.Running(t.Context())
		require.NoError(t, err)
		return slices.Equal(slices.Sorted(maps.Keys(running)), []string{"a.service", "b.service", "c.service"})
	})
}
