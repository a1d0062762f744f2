package etcdtest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/cmd/internal/etcdcerts"
)

// makeCerts makes certificates for members and has the cluster's own client
// show one.
func (c *Cluster) makeCerts(members int) {
	c.certs = filepath.Join(c.dir, "certs")
	o := &etcdcerts.Options{Dir: c.certs, Days: 1, Now: time.Now(), Random: rand.Reader}
	for i := range members {
		// Every certificate is good for 127.0.0.1 too, where all of them are.
		o.Members = append(o.Members, etcdcerts.Member{Name: memberName(i), Address: fmt.Sprintf("127.0.1.%d", i+1)})
	}
	if _, err := etcdcerts.Make(o); err != nil {
		c.t.Fatal(err)
	}
	c.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: c.TLS()}}
	c.t.Cleanup(c.client.CloseIdleConnections)
}

// ClientFiles are the files by which a client with TLS knows the cluster and
// is known: the authority's certificate, its own and the key of that.
func (c *Cluster) ClientFiles() (ca, cert, key string) {
	dir := filepath.Join(c.certs, memberName(0))
	return filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
}

// TLS is what a client needs to talk to the cluster, nil without TLS.
func (c *Cluster) TLS() *tls.Config {
	if c.certs == "" {
		return nil
	}
	ca, cert, key := c.ClientFiles()
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		c.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}
}

// environment gives the variables of a file that etcd-certs made for a member,
// as if it lay where members have it.
func (c *Cluster) environment(member, file string) []string {
	if c.certs == "" {
		return nil
	}
	dir := filepath.Join(c.certs, member)
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), etcdcerts.Place, dir)) {
		if !strings.HasPrefix(line, "#") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func (c *Cluster) scheme() string {
	if c.certs == "" {
		return "http"
	}
	return "https"
}

func memberName(i int) string { return fmt.Sprintf("m%d", i) }
