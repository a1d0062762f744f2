package fleetd_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/fleet/fleettest"
)

// With -full, trouble lasts as long as is promised, in proportion to the TTL of
// 30 seconds: etcd is away for 10 minutes, its leader changes for 5 minutes;
// and what is to be done in some time must be done in that time.
var full = flag.Bool("full", false, "hold the fleet to all that is promised; for a machine with nothing else to do")

// moveLeader gives the lead of etcd to another member.
func (s *simulation) moveLeader() {
	s.t.Helper()
	leader := s.etcd.Leader()
	client, err := fleettest.NewClient([]string{leader.Endpoint}, 10*time.Second, nil)
	require.NoError(s.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	status, err := client.Status(ctx, leader.Endpoint)
	require.NoError(s.t, err)
	members, err := client.MemberList(ctx)
	require.NoError(s.t, err)
	for _, m := range members.Members {
		if m.ID != status.Header.MemberId {
			_, err := client.MoveLeader(ctx, m.ID)
			s.t.Logf("lead of etcd moved: %v", err)
			return
		}
	}
}

// endLeases does what a leader of etcd does that was suspended and goes on: it
// takes leases for expired that were renewed meanwhile, and ends them.
func (s *simulation) endLeases() {
	s.t.Helper()
	client, err := fleettest.NewClient(s.etcd.Endpoints(), 10*time.Second, nil)
	require.NoError(s.t, err)
	defer client.Close()
	leases, err := client.Leases(s.t.Context())
	require.NoError(s.t, err)
	require.NotEmpty(s.t, leases.Leases)
	for _, l := range leases.Leases {
		_, err := client.Revoke(s.t.Context(), l.ID)
		require.NoError(s.t, err)
	}
}

// restart restarts a machine's fleetd.
func (s *simulation) restart(i int) {
	s.t.Helper()
	s.machines[i].Stop()
	s.machines[i].Start()
}

func (s *simulation) all(do func(*etcdtest.Member)) {
	for _, m := range s.etcd.Members() {
		do(m)
	}
}

// Whatever happens to etcd, no unit is stopped, and none is started anew.
func TestNothingStops(t *testing.T) {
	t.Parallel()
	ttl := 4 * time.Second // for 30 s
	away, changing := 5*ttl, 3*ttl
	if *full {
		ttl = 10 * time.Second
		away, changing = 20*ttl, 10*ttl
	}
	s := newSimulation(t, 12, ttl)
	s.start()
	s.submit(0, 150)
	s.converge("150 units on 12 machines", 30*time.Second)
	starts := s.starts()
	quiet := func(what string) {
		t.Helper()
		assert.Empty(t, s.stopped(), what)
		assert.Equal(t, starts, s.starts(), what)
	}

	begin := time.Now()
	for i := 0; time.Since(begin) < changing; i++ {
		s.moveLeader()
		if i%5 == 0 {
			s.restart(i / 5 % len(s.machines))
		}
		time.Sleep(ttl / 6) // every 5 s of 30
	}
	s.converge("etcd's leader changed all the time", 30*time.Second)
	quiet("leader changed")

	s.endLeases()
	s.converge("etcd ended all leases", 30*time.Second)
	quiet("leases ended")

	s.all((*etcdtest.Member).Stop)
	time.Sleep(away / 2)
	s.restart(3)
	s.restart(4)
	time.Sleep(away / 2)
	quiet("etcd stopped")
	s.all((*etcdtest.Member).Start)
	s.converge("etcd was stopped for "+away.String(), 30*time.Second)
	quiet("etcd back")

	s.etcd.WaitHealthy()
	s.all((*etcdtest.Member).Kill)
	s.all((*etcdtest.Member).Wipe)
	s.restart(5)
	s.all((*etcdtest.Member).Start)
	s.etcd.WaitHealthy()
	s.eventually("all are in the new registry", func() bool {
		v, err := s.r.Load(t.Context())
		return err == nil && len(v.Machines) == len(s.machines)
	})
	s.restart(6)
	time.Sleep(2 * ttl)
	quiet("etcd wiped")
	s.submit(0, 150)
	s.converge("etcd was wiped, and units submitted again", 30*time.Second)
	quiet("submitted again")

	// They are the new registry's now, and do what it says.
	require.NoError(t, s.r.DestroyUnit(t.Context(), "u0005.service", time.Now()))
	s.converge("a unit destroyed", 10*time.Second)
	assert.Len(t, s.stopped(), 1)
}

func (s *simulation) starts() int {
	n := 0
	for _, m := range s.machines {
		n += m.Systemd.Starts()
	}
	return n
}
