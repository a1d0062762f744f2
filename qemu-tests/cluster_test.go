package qemutests_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// clusterSize is how many machines a cluster has.
const clusterSize = 3

// agentTTL is after how long a machine that is not heard of is lost to the
// fleet, in these tests.
const agentTTL = 15 * time.Second

// node is a machine of a cluster: a member of etcd and of the fleet.
type node struct {
	*machine
	name, ip, mac string
	boot          string // the kernel's id of a boot
}

// cluster is machines of one image in one network.
type cluster struct {
	*vm.Switch
	nodes []*node
}

// newCluster starts the machines, all at once.
func newCluster(t *testing.T, l *lab) *cluster {
	s, err := vm.NewSwitch()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c := &cluster{Switch: s}
	for i := range clusterSize {
		n := &node{
			name: fmt.Sprintf("m%d", i+1), ip: fmt.Sprintf("10.77.0.%d", i+1), mac: fmt.Sprintf("52:54:00:00:00:%02x", i+1),
		}
		n.machine = l.fresh(t).boot(t, &vm.Config{
			CPUs: 1, Memory: 1024, Switch: s, Address: n.mac, Credentials: n.credentials(),
		})
		c.nodes = append(c.nodes, n)
	}
	each(c.nodes, func(n *node) { n.up(t) })
	return c
}

// each does something with all nodes at once.
func each(nodes []*node, do func(*node)) {
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() { do(n) })
	}
	all.Wait()
}

// credentials are the configuration of a node, as an administrator would write
// it into files.
func (n *node) credentials() map[string]string {
	var members []string
	for i := range clusterSize {
		members = append(members, fmt.Sprintf("m%d=http://10.77.0.%d:2380", i+1, i+1))
	}
	etcd := []string{
		"NAME=" + n.name, "DATA_DIR=/var/lib/etcd/cluster", "INITIAL_CLUSTER=" + strings.Join(members, ","),
		"LISTEN_PEER_URLS=http://" + n.ip + ":2380", "INITIAL_ADVERTISE_PEER_URLS=http://" + n.ip + ":2380",
		"LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://" + n.ip + ":2379", "ADVERTISE_CLIENT_URLS=http://" + n.ip + ":2379",
		"HEARTBEAT_INTERVAL=500", "ELECTION_TIMEOUT=5000", // the machines are slow
	}
	fleet := []string{"PUBLIC_IP=" + n.ip, "METADATA=name=" + n.name, fmt.Sprintf("AGENT_TTL=%s", agentTTL),
		"ETCD_REQUEST_TIMEOUT=30"}
	all := without(&vm.Config{}, heavy...).Credentials
	maps.Copy(all, healthSoon())
	all["network.network.20-switch"] = "[Match]\nMACAddress=" + n.mac + "\n[Network]\nAddress=" + n.ip +
		"/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
	all["systemd.unit-dropin.etcd.service"] = environment("ETCD_", etcd)
	all["systemd.unit-dropin.fleet.service"] = environment("FLEET_", fleet)
	return all
}

// environment is a drop-in that sets variables.
func environment(prefix string, variables []string) string {
	text := "[Service]\n"
	for _, v := range variables {
		text += fmt.Sprintf("Environment=\"%s%s\"\n", prefix, v)
	}
	return text
}

// until runs a command in the guest until it succeeds, and returns its output.
func (m *machine) until(t testing.TB, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	out, code, err := m.Run(ctx, fmt.Sprintf("end=$((SECONDS + %d)); until out=$(%s 2>&1); do "+
		"[ $SECONDS -lt $end ] || { echo \"$out\"; exit 1; }; sleep 1; done; echo \"$out\"",
		int(bootLimit.Seconds())-60, command))
	require.NoError(t, err, "%s\n%s", command, m.Console().Tail())
	if code != 0 {
		state, _ := m.try(t, "ip -br address; systemctl --no-pager list-units --failed; "+
			"journalctl -b -o cat --no-pager -n 15 -u etcd; journalctl -b -o cat --no-pager -n 15 -u fleet -u locksmithd")
		t.Fatalf("not in time: %s\n%s\n%s", command, out, state)
	}
	return strings.TrimSpace(out)
}

// TestCluster makes a cluster of three machines out of the image: etcd with
// three members, and a fleet. It runs units on them, loses a machine, gets it
// back, and has all of them restart, one at a time. It is not parallel: three
// machines are enough for two processors.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines; -short leaves that out")
	}
	asked := channels(t, onRequest)
	if len(asked) == 0 {
		t.Skip("takes a quarter of an hour: -channel all runs it, or that of a channel by its name")
	}
	for _, channel := range asked {
		t.Run(channel, func(t *testing.T) {
			c := newCluster(t, shared.lab(t, channel))
			first := c.nodes[0]
			first.until(t, "etcdctl endpoint health --cluster")
			first.until(t, "test $(fleetctl --request-timeout=60 list-machines --no-legend | wc -l) = 3")
			c.listsMachines(t)
			c.runsGlobal(t)
			c.moves(t)
			c.restartsInTurn(t)
		})
	}
}

// listsMachines compares what fleetctl shows with what fleet's did.
func (c *cluster) listsMachines(t *testing.T) {
	lines := strings.Split(c.nodes[0].run(t, "fleetctl --request-timeout=60 list-machines"), "\n")
	assert.Regexp(t, `^MACHINE\s+IP\s+METADATA$`, lines[0])
	for i, n := range c.nodes {
		id := n.run(t, "cut -c-8 /etc/machine-id")
		want := regexp.MustCompile(fmt.Sprintf(`^%s\.\.\.\s+%s\s+name=m%d$`, id, n.ip, i+1))
		assert.True(t, slices.ContainsFunc(lines, want.MatchString), "%s in\n%s", want, strings.Join(lines, "\n"))
	}
}

// runsGlobal is the session of an administrator of CoreOS with a global unit.
func (c *cluster) runsGlobal(t *testing.T) {
	m := c.nodes[0]
	m.unit(t, "everywhere.service", "Global=true")
	assert.Equal(t, "Triggered global unit everywhere.service load", m.run(t, "fleetctl --request-timeout=60 load everywhere.service"))
	assert.Regexp(t, `(?m)^everywhere.service\s+[0-9a-f]{7}\s+loaded\s+-\s+global$`, m.run(t, "fleetctl --request-timeout=60 list-unit-files"))
	assert.Equal(t, "Triggered global unit everywhere.service start", m.run(t, "fleetctl --request-timeout=60 start everywhere.service"))
	m.until(t, "test $(fleetctl --request-timeout=60 list-units --no-legend | grep -cE 'everywhere.service.*active[[:space:]]+running') = 3")
	for _, n := range c.nodes {
		assert.Equal(t, "active", n.run(t, "systemctl is-active everywhere.service"))
	}
}

// unit writes a unit file that runs for ever.
func (m *machine) unit(t testing.TB, name, rules string) {
	t.Helper()
	m.run(t, fmt.Sprintf("printf '[Service]\\nExecStart=/usr/bin/sleep infinity\\n[X-Fleet]\\n%s\\n' >%s", rules, name))
}

// moves spreads two units that must not meet, and switches a machine off that
// runs one of them: it runs on the third then, and not twice when the machine
// is back.
func (c *cluster) moves(t *testing.T) {
	m := c.nodes[0]
	m.unit(t, "pair@.service", "Conflicts=pair@*.service")
	m.run(t, "fleetctl --request-timeout=60 submit pair@.service && fleetctl --request-timeout=60 start pair@1.service pair@2.service")
	const running = `fleetctl --request-timeout=60 list-units --no-legend --fields=unit,machine,active | grep -E 'pair.*active' | sort`
	m.until(t, "test $("+running+" | wc -l) = 2")
	before := c.places(t, m.run(t, running))
	require.Len(t, before, 2)
	assert.NotEqual(t, before["pair@1.service"].name, before["pair@2.service"].name)

	victim := before["pair@1.service"]
	if victim == m {
		victim = before["pair@2.service"]
	}
	victim.PowerCut()
	start := time.Now()
	m.until(t, fmt.Sprintf("test $(%s | grep -vc %s) = 2", running, regexp.QuoteMeta(victim.ip)))
	t.Logf("a unit of the lost machine runs elsewhere after %s; machines are lost after %s",
		time.Since(start).Round(time.Second), agentTTL)
	assert.Less(t, time.Since(start), agentTTL*3/2+30*time.Second, "emulated machines take their time")
	after := c.places(t, m.run(t, running))

	victim.start(t)
	victim.up(t)
	m.until(t, "test $(fleetctl --request-timeout=60 list-machines --no-legend | wc -l) = 3")
	m.until(t, "test $(fleetctl --request-timeout=60 list-units --no-legend | grep -cE 'everywhere.service.*active[[:space:]]+running') = 3")
	assert.Equal(t, after, c.places(t, m.run(t, running)), "what runs stays where it is")
	out, _ := victim.try(t, "systemctl is-active 'pair@*.service'")
	assert.NotContains(t, strings.Fields(out), "active")
}

// places are the nodes that units run on, by the output of list-units.
func (c *cluster) places(t testing.TB, out string) map[string]*node {
	t.Helper()
	places := map[string]*node{}
	for _, line := range strings.Split(out, "\n") {
		fields := strings.Fields(line)
		require.GreaterOrEqual(t, len(fields), 2, out)
		for _, n := range c.nodes {
			if strings.HasSuffix(fields[1], "/"+n.ip) {
				places[fields[0]] = n
			}
		}
	}
	return places
}

// restartsInTurn has all machines restart by the lock in etcd, whose history
// shows that no two were away at once. Each hands its units to others first.
func (c *cluster) restartsInTurn(t *testing.T) {
	each(c.nodes, func(n *node) {
		n.healthy(t)
		n.boot = n.run(t, "cat /proc/sys/kernel/random/boot_id")
		n.run(t, "mkdir -p /etc/coreos && printf 'REBOOT_STRATEGY=etcd-lock\\nSERVER=disabled\\n' >/etc/coreos/update.conf && "+
			"systemctl restart locksmithd.service")
	})
	each(c.nodes, func(n *node) {
		// Whoever gets the lock first may not live to see the end of it.
		_, _, _ = n.Run(t.Context(), "locksmithctl send-need-reboot")
	})
	each(c.nodes, func(n *node) {
		assert.NotEqual(t, n.boot, n.bootAfter(t, n.boot))
		n.healthy(t)
	})
	for _, n := range c.nodes {
		// With the lock, and before etcd went down with the machine.
		assert.Contains(t, n.run(t, "journalctl -b -1 -o cat --no-pager -u fleet-drain.service"), "drained", n.name)
	}
	m := c.nodes[0]
	m.until(t, "locksmithctl status | grep -qx 'Available: 1'")
	history := m.run(t, "timeout 10 etcdctl watch --rev=1 coreos.com/updateengine/rebootlock/semaphore || true")
	held := map[string]bool{}
	for _, holders := range regexp.MustCompile(`"holders":\[([^\]]*)\]`).FindAllStringSubmatch(history, -1) {
		ids := strings.FieldsFunc(holders[1], func(r rune) bool { return r == ',' || r == '"' })
		assert.LessOrEqual(t, len(ids), 1, "away at once: %s", history)
		for _, id := range ids {
			held[id] = true
		}
	}
	assert.Len(t, held, clusterSize, "all had the lock once\n%s", history)
}

// bootAfter waits until another boot than before has come to its system, and
// gives its id.
func (n *node) bootAfter(t testing.TB, before string) string {
	t.Helper()
	deadline := time.Now().Add(2 * bootLimit)
	for time.Now().Before(deadline) {
		n.up(t)
		out, _, err := n.Run(t.Context(), "cat /proc/sys/kernel/random/boot_id; sleep 2")
		if now := strings.TrimSpace(out); err == nil && now != before {
			return now
		}
	}
	return before
}
