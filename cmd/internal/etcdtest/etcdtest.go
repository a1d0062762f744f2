// Package etcdtest gives tests a real etcd cluster on loopback, of the etcd
// that layer etcd puts into images: compiled by the project, kept in slipway's
// cache. Members can be stopped, killed, paused, cut off from the others and
// started again.
//
// Tests that use it are skipped by -short and never otherwise: an etcd that
// cannot be made fails the test. Everything ends with the test.
package etcdtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a cluster may take to become healthy: a second when
// the machine has nothing else to do.
const patience = 90 * time.Second

// Options says what a cluster is like. The zero value is a single member.
type Options struct {
	// Members is how many members the cluster begins with; 0 means 1.
	Members int
	// V2 serves the v2 API too.
	V2 bool
	// TLS has members and clients show certificates, as "slipway-host
	// etcd-certs" makes them.
	TLS bool
	// Discovery is the URL by which members find each other, in place of a
	// list: that of a token for as many as there are.
	Discovery string
	// Environment are ETCD_ variables ("ETCD_QUOTA_BACKEND_BYTES=1000000") of
	// every member, beside those that make the cluster.
	Environment []string
}

// Cluster is a cluster of etcd members.
type Cluster struct {
	t       testing.TB
	o       Options
	dir     string
	etcd    string // programs
	etcdctl string
	token   string
	certs   string // directory of etcd-certs; "" without TLS
	client  *http.Client
	network *network
	members []*Member
}

// Start starts a cluster and waits until every member is healthy. It ends with
// the test.
func Start(t testing.TB, o *Options) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs a real etcd")
	}
	c := &Cluster{
		t: t, o: *o, dir: t.TempDir(), etcd: Program(t, "etcd"), etcdctl: Program(t, "etcdctl"),
		client:  &http.Client{Timeout: 5 * time.Second},
		network: &network{sides: map[*Member]int{}, wires: map[*wire]bool{}},
	}
	c.token = filepath.Base(filepath.Dir(c.dir))
	t.Cleanup(c.end)
	if o.TLS {
		c.makeCerts(max(1, o.Members))
	}
	for range max(1, o.Members) {
		c.add()
	}
	for _, m := range c.members {
		m.begin("new", c.members)
	}
	c.WaitHealthy()
	return c
}

// Members are all members that were ever started, in order.
func (c *Cluster) Members() []*Member { return c.members }

// Endpoints are the client URLs of all members.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.Endpoint)
	}
	return all
}

// Split cuts members off from all others, but not from each other. Clients
// reach everybody still.
func (c *Cluster) Split(members ...*Member) { c.network.split(members) }

// Heal ends every Split and Isolate.
func (c *Cluster) Heal() { c.network.mend(c.members) }

// WaitHealthy waits until every running member that is not paused or split off
// has a leader and answers reads.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	for _, m := range c.members {
		if m.running() && !m.paused && !c.network.apart(m) {
			m.WaitHealthy()
		}
	}
}

// Leader gives the member that leads, waiting until there is one.
func (c *Cluster) Leader() *Member {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		for _, m := range c.members {
			if m.running() && !m.paused && m.leads(ctx) {
				return m
			}
		}
		if !pause(ctx) {
			c.t.Fatalf("etcd: no leader after %v\n%s", patience, c.logs())
		}
	}
}

// EnableAuth turns authentication on: user root, with that password.
func (c *Cluster) EnableAuth(password string) {
	c.t.Helper()
	c.Etcdctl("user", "add", "root:"+password)
	c.Etcdctl("user", "grant-role", "root", "root")
	c.Etcdctl("auth", "enable")
}

// end stops every process and shows the logs of a test that failed.
func (c *Cluster) end() {
	if c.t.Failed() {
		c.t.Log(c.logs())
	}
	c.network.close()
	for _, m := range c.members {
		if m.running() {
			m.signal(killed)
			<-m.exited
		}
	}
}

// logs are the last lines that each member wrote.
func (c *Cluster) logs() string {
	var all strings.Builder
	for _, m := range c.members {
		text, err := os.ReadFile(m.log())
		if err != nil {
			text = []byte(err.Error())
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		lines = lines[max(0, len(lines)-15):]
		fmt.Fprintf(&all, "etcd %s:\n  %s\n", m.Name, strings.Join(lines, "\n  "))
	}
	return all.String()
}

// ask gets a document of a member's HTTP API; value may be nil.
func (c *Cluster) ask(ctx context.Context, method, url, body string, value any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.Unmarshal(text, value)
}

// pause waits a little between two questions; it is false when ctx is over.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}
