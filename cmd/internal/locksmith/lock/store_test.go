package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway/cmd/internal/etcdtest"
	"slipway/cmd/internal/locksmith/lock"
)

func client(t testing.TB, endpoints ...string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func nobody(*lock.View) []string { return nil }

// attend has a machine be there until stop, which is a crash: etcd finds out
// when the lease ends.
func attend(t testing.TB, endpoint string, id string, ttl time.Duration) (stop func()) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	updates, ready := make(chan lock.Presence, 1), make(chan struct{}, 1)
	updates <- lock.Presence{Host: "host of " + id}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = lock.NewStore(c, "").Attend(ctx, id, ttl, updates, func() { ready <- struct{}{} })
	}()
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("etcd does not take the presence")
	}
	stop = sync.OnceFunc(func() {
		_ = c.Close() // nothing can be revoked any more
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// One program after the other sees what etcdctl sees, under CoreOS's key.
func TestKeys(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	etcd := client(t, c.Endpoints()...)
	take := func(v *lock.View) error { return v.Semaphore.Lock("m1", lock.Record{State: lock.Manual}) }
	for group, key := range map[string]string{
		"":               "coreos.com/updateengine/rebootlock/semaphore",
		"load balancers": "coreos.com/updateengine/rebootlock/groups/load+balancers/semaphore",
		"a/../b":         "coreos.com/updateengine/rebootlock/groups/a%2F..%2Fb/semaphore",
	} {
		s := lock.NewStore(etcd, group)
		v, err := s.View(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, v.Available())
		assert.Empty(t, c.Etcdctl("get", key), "reading writes nothing")
		require.NoError(t, s.Change(t.Context(), take))
		assert.Contains(t, c.Etcdctl("get", key, "--print-value-only"), `{"semaphore":0,"max":1,"holders":["m1"],`)
		c.Etcdctl("put", key, `{"semaphore":1,"max":2,"holders":["m2"]}`)
		v, err = s.View(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"m2"}, v.Holders())
		c.Etcdctl("put", key, `nonsense`)
		_, err = s.View(t.Context())
		assert.ErrorContains(t, err, "etcd key "+key+": lock: malformed: ")
		assert.Error(t, s.Change(t.Context(), take), "and it is not overwritten")
		assert.Equal(t, "nonsense", c.Etcdctl("get", key, "--print-value-only"))
	}
}

// Of many at once as many get the lock as there is room for.
func TestManyAtOnce(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	s := lock.NewStore(client(t, c.Endpoints()...), "")
	require.NoError(t, s.Change(t.Context(), func(v *lock.View) error { v.Max = 3; return nil }))
	errs := make([]error, 20)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = s.Change(t.Context(), func(v *lock.View) error {
				return v.Semaphore.Lock(fmt.Sprintf("m%d", i), lock.Record{State: lock.Manual})
			})
		})
	}
	all.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
			continue
		}
		_, full := errors.AsType[*lock.FullError](err)
		assert.True(t, full, "%v", err)
	}
	assert.Equal(t, 3, got)
}

func TestPresence(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	s := lock.NewStore(client(t, c.Endpoints()...), "")
	_, err := s.Lock(t.Context(), "m1", lock.Record{State: lock.Waiting}, nobody)
	assert.ErrorIs(t, err, lock.ErrNotPresent)

	crash := attend(t, c.Endpoints()[0], "m1", 2*time.Second)
	_, err = s.Lock(t.Context(), "m1", lock.Record{State: lock.Waiting}, nobody)
	require.NoError(t, err)
	v, err := s.View(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "host of m1", v.Present["m1"].Host)
	attend(t, c.Endpoints()[0], "m2", 2*time.Second)
	gone := func(v *lock.View) []string { return v.Gone(0, nil) }
	_, err = s.Lock(t.Context(), "m2", lock.Record{State: lock.Waiting}, gone)
	assert.EqualError(t, err, "semaphore is at 0")

	// The slot of a holder that is dead is free when its lease ends.
	begin := time.Now()
	crash()
	for {
		v, err := s.View(t.Context())
		require.NoError(t, err)
		if len(v.Gone(0, nil)) > 0 {
			break
		}
		require.NoError(t, s.Wait(t.Context(), v))
	}
	t.Logf("its lease of 2s ended after %s", time.Since(begin).Round(10*time.Millisecond))
	taken, err := s.Lock(t.Context(), "m2", lock.Record{State: lock.Waiting}, gone)
	require.NoError(t, err)
	assert.Equal(t, []string{"m1"}, taken)

	// And m1, if it lives after all, cannot restart with what it believes to have.
	err = s.Change(t.Context(), func(v *lock.View) error { return v.Amend("m1", lock.Record{State: lock.Restarting}) })
	assert.ErrorIs(t, err, lock.ErrNotHolder)
}

// Who is there again at the last moment keeps the lock: etcd compares.
func TestBackAtTheLastMoment(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	s := lock.NewStore(client(t, c.Endpoints()...), "")
	attend(t, c.Endpoints()[0], "m2", time.Minute)
	require.NoError(t, s.Change(t.Context(), func(v *lock.View) error {
		return v.Semaphore.Lock("m1", lock.Record{State: lock.Waiting})
	}))
	asked := 0
	_, err := s.Lock(t.Context(), "m2", lock.Record{State: lock.Waiting}, func(v *lock.View) []string {
		if asked++; asked == 1 {
			defer attend(t, c.Endpoints()[0], "m1", time.Minute)
		}
		return v.Gone(0, nil)
	})
	assert.EqualError(t, err, "semaphore is at 0")
	assert.Equal(t, 2, asked)
}

// coreos/bugs #64 and #842: "unlocked", said locksmithctl, and the status of
// another member still had the holder. Here what one member has taken is what
// every member shows, and a member that cannot know does not answer.
func TestNoStaleReads(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3})
	members := c.Members()
	stores := make([]*lock.Store, len(members))
	for i, m := range members {
		stores[i] = lock.NewStore(client(t, m.Endpoint), "")
	}
	for i := range 30 {
		id := fmt.Sprintf("m%d", i)
		require.NoError(t, stores[i%3].Change(t.Context(), func(v *lock.View) error {
			return v.Semaphore.Lock(id, lock.Record{State: lock.Manual})
		}))
		require.NoError(t, stores[(i+1)%3].Change(t.Context(), func(v *lock.View) error { return v.Unlock(id) }))
		v, err := stores[(i+2)%3].View(t.Context())
		require.NoError(t, err)
		require.Empty(t, v.Holders(), "round %d", i)
	}

	require.NoError(t, stores[0].Change(t.Context(), func(v *lock.View) error {
		return v.Semaphore.Lock("m", lock.Record{State: lock.Manual})
	}))
	c.Split(members[2])
	require.NoError(t, lock.NewStore(client(t, members[0].Endpoint, members[1].Endpoint), "").
		Change(t.Context(), func(v *lock.View) error { return v.Unlock("m") }))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := stores[2].View(ctx)
	assert.Error(t, err, "it has the holder still, and does not say so")
	c.Heal()
	c.WaitHealthy()
	v, err := stores[2].View(t.Context())
	require.NoError(t, err)
	assert.Empty(t, v.Holders())
}

func TestWait(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	s := lock.NewStore(client(t, c.Endpoints()...), "")
	take := func(id string) {
		require.NoError(t, s.Change(t.Context(), func(v *lock.View) error {
			v.Max++
			return v.Semaphore.Lock(id, lock.Record{State: lock.Manual})
		}))
	}
	take("m1")
	v, err := s.View(t.Context())
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Wait(t.Context(), v) }()
	c.Etcdctl("put", "coreos.com/updateengine/rebootlock/groups/x/semaphore", "another group's")
	attend(t, c.Endpoints()[0], "m2", time.Minute) // is no holder
	select {
	case err := <-done:
		t.Fatal("nothing has happened to the lock: ", err)
	default:
	}
	attend(t, c.Endpoints()[0], "m1", time.Minute)
	require.NoError(t, <-done)
	v2, err := s.View(t.Context(), "m2", "m3")
	require.NoError(t, err)
	assert.Contains(t, v2.Present, "m1")
	assert.Contains(t, v2.Present, "m2")
	assert.NotContains(t, v2.Present, "m3")
	assert.NoError(t, s.Wait(t.Context(), v), "also if it is over already")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, s.Wait(short, v2), context.DeadlineExceeded)

	// With many holders etcd is asked another way.
	for i := range 120 {
		take(fmt.Sprintf("h%d", i))
	}
	v, err = s.View(t.Context())
	require.NoError(t, err)
	assert.Len(t, v.Holders(), 121)
	assert.Contains(t, v.Present, "m1")
	go func() { done <- s.Wait(t.Context(), v) }()
	attend(t, c.Endpoints()[0], "h7", time.Minute)
	require.NoError(t, <-done)
}
