package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/fleet/fleettest"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
	"slipway/cmd/internal/fleet/unit"
)

const ttl = 5 * time.Second

func file(t testing.TB, text string) *unit.File {
	f, err := unit.Parse([]byte(text))
	require.NoError(t, err)
	return f
}

// open gives a registry in a new etcd.
func open(t *testing.T) (*etcdtest.Cluster, *clientv3.Client, *registry.Registry) {
	etcd := etcdtest.Start(t, &etcdtest.Options{Environment: []string{"ETCD_UNSAFE_NO_FSYNC=true"}})
	client, err := fleettest.NewClient(etcd.Endpoints(), ttl, nil)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return etcd, client, registry.New(client, "/fleet", fleettest.Timeout)
}

func TestUnits(t *testing.T) {
	_, client, r := open(t)
	ctx := t.Context()
	f := file(t, "[Service]\nExecStart=/bin/a\n")
	require.NoError(t, r.CreateUnit(ctx, "a.service", "1", f, unit.Inactive))
	assert.ErrorIs(t, r.CreateUnit(ctx, "a.service", "2", f, unit.Launched), registry.ErrExists)
	job, err := r.Unit(ctx, "a.service")
	require.NoError(t, err)
	assert.Equal(t, "1 inactive  "+f.Hash(), fmt.Sprint(job.UID, " ", job.Desired, " ", job.Target, " ", job.Hash))

	before := revision(t, client)
	require.NoError(t, r.SetDesired(ctx, "a.service", unit.Inactive))
	assert.Equal(t, before, revision(t, client), "nothing is written that is there")
	require.NoError(t, r.SetDesired(ctx, "a.service", unit.Launched))
	assert.ErrorIs(t, r.SetDesired(ctx, "b.service", unit.Launched), registry.ErrNotFound)
	require.NoError(t, r.ReplaceUnit(ctx, job, file(t, "[Service]\nExecStart=/bin/b\n"), unit.Launched))
	assert.ErrorIs(t, r.ReplaceUnit(ctx, job, f, unit.Launched), registry.ErrChanged)

	require.NoError(t, r.DestroyUnit(ctx, "a.service", time.Unix(1e9, 0)))
	assert.ErrorIs(t, r.DestroyUnit(ctx, "a.service", time.Now()), registry.ErrNotFound)
	v, err := r.Load(ctx)
	require.NoError(t, err)
	assert.Equal(t, "1", v.Destroyed["a.service"].UID)
	require.NoError(t, r.Bury(ctx, v, time.Unix(1e9+100, 0), time.Hour))
	v, err = r.Load(ctx)
	require.NoError(t, err)
	assert.Len(t, v.Destroyed, 1)
	require.NoError(t, r.Bury(ctx, v, time.Unix(1e9+3700, 0), time.Hour))
	v, err = r.Load(ctx)
	require.NoError(t, err)
	assert.Empty(t, v.Destroyed)
	assert.Empty(t, v.Jobs)
}

func revision(t *testing.T, client *clientv3.Client) int64 {
	answer, err := client.Get(t.Context(), "x")
	require.NoError(t, err)
	return answer.Header.Revision
}

// Of engines that decide differently on the same view one is heard; one that
// does not lead any more never is.
func TestOneEngineDecides(t *testing.T) {
	_, client, r := open(t)
	ctx := t.Context()
	for i := range 100 {
		require.NoError(t, r.CreateUnit(ctx, fmt.Sprintf("u%03d.service", i), "1", file(t, "[Service]\n"), unit.Launched))
	}
	lease, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	elected, err := r.Elect(ctx, "m1", lease.ID)
	require.NoError(t, err)
	assert.True(t, elected)
	elected, err = r.Elect(ctx, "m2", lease.ID)
	require.NoError(t, err)
	assert.False(t, elected)
	v, err := r.Load(ctx)
	require.NoError(t, err)
	require.Equal(t, "m1", v.Leader.MachineID)

	to := func(machine string) (list []schedule.Decision) {
		for i := range 100 {
			list = append(list, schedule.Decision{Unit: fmt.Sprintf("u%03d.service", i), To: machine})
		}
		return list
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = r.SetTargets(ctx, v.Leader, v, to(fmt.Sprint("m", i))) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else {
			assert.ErrorIs(t, err, registry.ErrChanged)
		}
	}
	assert.LessOrEqual(t, done, 1)

	// The unit was stopped meanwhile: a decision made before is not written.
	old, err := r.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, r.SetDesired(ctx, "u000.service", unit.Inactive))
	_, err = r.SetTargets(ctx, old.Leader, old, to("m9"))
	assert.ErrorIs(t, err, registry.ErrChanged)

	// Another leads.
	old, err = r.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, r.Resign(ctx, old.Leader))
	elected, err = r.Elect(ctx, "m2", lease.ID)
	require.NoError(t, err)
	assert.True(t, elected)
	_, err = r.SetTargets(ctx, old.Leader, old, to("m8"))
	assert.ErrorIs(t, err, registry.ErrChanged)
	require.NoError(t, r.Resign(ctx, old.Leader), "of a lead that is lost")
	v, err = r.Load(ctx)
	require.NoError(t, err)
	require.Equal(t, "m2", v.Leader.MachineID)
	for name, job := range v.Jobs {
		assert.NotContains(t, []string{"m8", "m9"}, job.Target, name)
	}
	_, err = r.SetTargets(ctx, v.Leader, v, to("m7")[1:])
	assert.NoError(t, err)
}

// follow runs a mirror and waits for what it shows.
func follow(t *testing.T, r *registry.Registry) (m *registry.Mirror, until func(what string, ok func(*registry.View) bool)) {
	m = r.NewMirror(slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return m, func(what string, ok func(*registry.View) bool) {
		t.Helper()
		late := time.After(20 * time.Second)
		for {
			v, changed := m.View()
			if v != nil && ok(v) {
				return
			}
			select {
			case <-changed:
			case <-late:
				require.FailNow(t, "mirror does not show: "+what)
			}
		}
	}
}

func TestMirror(t *testing.T) {
	etcd, client, r := open(t)
	ctx := t.Context()
	m, until := follow(t, r)
	until("an empty registry", func(v *registry.View) bool { return v.Cluster == nil && len(v.Jobs) == 0 })
	p := presence(t, r, m, "m1")
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { p.Run(run); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	until("a machine", func(v *registry.View) bool { return v.Cluster != nil && v.Machines["m1"] != nil })

	f := file(t, "[X-Fleet]\nConflicts=%p@*\n")
	require.NoError(t, r.CreateUnit(ctx, "a@1.service", "1", f, unit.Launched))
	require.NoError(t, r.SetMetadata(ctx, "m1", "a", "1"))
	require.NoError(t, r.SetMetadata(ctx, "m1", "role", ""))
	require.NoError(t, p.SetDraining(ctx, true))
	until("a unit and changes of a machine", func(v *registry.View) bool {
		machine, job := v.Machines["m1"], v.Jobs["a@1.service"]
		return job != nil && job.Desired == unit.Launched && job.Rules.Conflicts[0] == "a@*" &&
			fmt.Sprint(machine.AllMetadata()) == "map[a:1]" && machine.Schedulable().Draining
	})
	require.NoError(t, p.SetDraining(ctx, false))
	until("not draining", func(v *registry.View) bool { return !v.Machines["m1"].Schedulable().Draining })

	// What makes no sense is no unit, and does no harm.
	for key, value := range map[string]string{
		"job/b.service/object": "{", "job/c.service/object": `{"Name":"x.service","UID":"1","Raw":""}`,
		"job/d.service/object": `{"Name":"d.service","UID":"1","Raw":"[A"}`, "machines/m2/object": `{"ID":"m3"}`, "cluster2": "x",
		"job/e.service/target": "m1", "job/a@1.service/target-state": "flying", "lease/other": "y", "machines/m3": "z",
	} {
		_, err := client.Put(ctx, "/fleet/"+key, value)
		require.NoError(t, err)
	}
	require.NoError(t, r.CreateUnit(ctx, "z.service", "1", f, unit.Launched))
	until("only whole units", func(v *registry.View) bool {
		return v.Jobs["z.service"] != nil && len(v.Jobs) == 2 && len(v.Machines) == 1 && v.Jobs["a@1.service"].Desired == unit.Inactive
	})

	// The history is thrown away while the mirror cannot follow.
	etcd.Members()[0].Stop()
	etcd.Members()[0].Start()
	for i := range 5 {
		require.NoError(t, retry(func() error { return r.SetMetadata(ctx, "m1", "n", fmt.Sprint(i)) }))
	}
	_, err := client.Compact(ctx, revision(t, client))
	require.NoError(t, err)
	until("what is there after a compaction", func(v *registry.View) bool {
		return v.Machines["m1"] != nil && v.Machines["m1"].AllMetadata()["n"] == "4"
	})

	// etcd is emptied; the watch alone would never tell.
	etcd.Members()[0].Stop()
	etcd.Members()[0].Wipe()
	etcd.Members()[0].Start()
	until("the empty registry", func(v *registry.View) bool { return len(v.Jobs) == 0 && v.Machines["m1"] != nil })
}

func retry(do func() error) (err error) {
	for range 20 {
		if err = do(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func presence(t *testing.T, r *registry.Registry, m *registry.Mirror, id string) *registry.Presence {
	return &registry.Presence{
		Registry: r, Mirror: m, TTL: ttl, NewClusterID: func() string { return "cluster" + id }, Now: time.Now,
		Machine: registry.Machine{ID: id, Boot: "b1", Metadata: map[string]string{"role": "x"}},
		Joined:  func(clientv3.LeaseID) {}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// A lease is gone on with after a restart, and given up after a reboot; a key
// that somebody deletes is written again.
func TestPresence(t *testing.T) {
	_, client, r := open(t)
	m, until := follow(t, r)
	start := func(lease clientv3.LeaseID, boot string) (*registry.Presence, func()) {
		p := presence(t, r, m, "m1")
		p.Lease, p.Machine.Boot = lease, boot
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		require.Eventually(t, func() bool { return p.Current() != 0 }, 10*time.Second, 10*time.Millisecond)
		return p, func() { cancel(); <-done }
	}
	first, stop := start(0, "b1")
	until("present", func(v *registry.View) bool { return v.Machines["m1"] != nil })
	stop()
	before := revision(t, client)
	second, stop := start(first.Current(), "b1")
	assert.Equal(t, first.Current(), second.Current())
	assert.Equal(t, before, revision(t, client), "nothing was written")
	require.NoError(t, r.Publish(t.Context(), "m1", second.Current(), []registry.Report{{Unit: "a.service", Active: "active"}}, nil))
	stop()

	third, stop := start(0, "b2")
	defer stop()
	assert.NotEqual(t, second.Current(), third.Current())
	until("of the new boot", func(v *registry.View) bool { return v.Machines["m1"] != nil && v.Machines["m1"].Boot == "b2" })
	require.Eventually(t, func() bool {
		reports, err := r.Reports(t.Context())
		return err == nil && len(reports) == 0
	}, 10*time.Second, 10*time.Millisecond, "reports of the boot before are gone")

	// Another machine with the same id: a copy of the disk, say.
	var said syncBuffer
	fourth := presence(t, r, m, "m1")
	fourth.Machine.PublicIP, fourth.Machine.Boot = "10.0.0.4", "b4"
	third.Log = slog.New(slog.NewTextHandler(&said, nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { fourth.Run(ctx); close(done) }()
	require.Eventually(t, func() bool {
		return strings.Contains(said.String(), `msg="another machine has the id of this one" machine=m1 ip=10.0.0.4`)
	}, 30*time.Second, 10*time.Millisecond)
	cancel()
	<-done

	_, err := client.Delete(t.Context(), "/fleet/", clientv3.WithPrefix())
	require.NoError(t, err)
	until("gone", func(v *registry.View) bool { return v.Machines["m1"] == nil })
	until("back", func(v *registry.View) bool { return v.Machines["m1"] != nil && v.Cluster != nil })
	require.NoError(t, third.Leave(t.Context()))
	until("left", func(v *registry.View) bool { return v.Machines["m1"] == nil })
}

// syncBuffer can be written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestReports(t *testing.T) {
	_, client, r := open(t)
	ctx := t.Context()
	lease, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	var reports []registry.Report
	for i := range 300 { // more than fits one transaction
		reports = append(reports, registry.Report{
			Unit: fmt.Sprintf("u%03d.service", i), Hash: strings.Repeat("a", 40), State: unit.Launched, Load: "loaded", Active: "active", Sub: "running",
		})
	}
	require.NoError(t, r.Publish(ctx, "m1", lease.ID, reports, nil))
	require.NoError(t, r.Publish(ctx, "m2", lease.ID, reports[:1], nil))
	all, err := r.Reports(ctx)
	require.NoError(t, err)
	require.Len(t, all, 301)
	assert.Equal(t, registry.Report{
		Unit: "u000.service", Machine: "m1", Hash: strings.Repeat("a", 40), State: unit.Launched, Load: "loaded", Active: "active", Sub: "running",
	}, all[0])
	running, err := r.Running(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"m1", "m2"}, running["u000.service"])
	require.NoError(t, r.Publish(ctx, "m1", lease.ID, nil, []string{"u000.service"}))
	one, err := r.ReportsOf(ctx, "u000.service")
	require.NoError(t, err)
	assert.Len(t, one, 1)
	_, err = client.Revoke(ctx, lease.ID)
	require.NoError(t, err)
	all, err = r.Reports(ctx)
	require.NoError(t, err)
	assert.Empty(t, all)
}
