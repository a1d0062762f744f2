package etcdtest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
)

func TestSingleMember(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	assert.Len(t, c.Endpoints(), 1)
	c.Etcdctl("put", "/foo", "Hello world")
	assert.Equal(t, "/foo\nHello world", c.Etcdctl("get", "/foo"))

	m := c.Members()[0]
	m.Kill()
	_, err := c.TryEtcdctl("get", "/foo", "--command-timeout=500ms")
	assert.Error(t, err)
	m.Start()
	m.WaitHealthy()
	assert.Equal(t, "/foo\nHello world", c.Etcdctl("get", "/foo"), "lost by SIGKILL")

	m.Stop()
	m.Wipe()
	m.Start()
	m.WaitHealthy()
	assert.Empty(t, c.Etcdctl("get", "/foo"), "left by Wipe")
}

// Whatever happens to one of three, the other two go on, and it catches up.
func TestThreeMembers(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3})
	for name, trouble := range map[string]struct{ begin, end func(*etcdtest.Member) }{
		"kill":    {(*etcdtest.Member).Kill, (*etcdtest.Member).Start},
		"stop":    {(*etcdtest.Member).Stop, (*etcdtest.Member).Start},
		"pause":   {(*etcdtest.Member).Pause, (*etcdtest.Member).Resume},
		"isolate": {(*etcdtest.Member).Isolate, (*etcdtest.Member).Rejoin},
	} {
		leader := c.Leader()
		trouble.begin(leader)
		i := slices.IndexFunc(c.Members(), func(m *etcdtest.Member) bool { return m != leader })
		require.Eventually(t, func() bool {
			_, err := c.Members()[i].TryEtcdctl("put", "/"+name, name)
			return err == nil
		}, time.Minute, 50*time.Millisecond, name)
		// Its own word is not worth a majority's.
		_, err := leader.TryEtcdctl("put", "/minority", name, "--command-timeout=700ms")
		assert.Error(t, err, name)
		trouble.end(leader)
		c.WaitHealthy()
		assert.Equal(t, "/"+name+"\n"+name, leader.Etcdctl("get", "/"+name), name)
	}
	assert.Empty(t, c.Etcdctl("get", "/minority"))
}

func TestSplit(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{Members: 3})
	m := c.Members()
	c.Split(m[0], m[1])
	m[0].WaitHealthy()
	_, err := m[2].TryEtcdctl("get", "x", "--command-timeout=700ms")
	assert.Error(t, err)
	c.Heal()
	c.WaitHealthy()
}

func TestAuth(t *testing.T) {
	c := etcdtest.Start(t, &etcdtest.Options{})
	c.EnableAuth("secret")
	_, err := c.TryEtcdctl("get", "x")
	require.Error(t, err)
	assert.Contains(t, err.Error(), "user name is empty")
	c.Etcdctl("--user", "root:secret", "put", "x", "y")
}
