package fleetd

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"slipway/cmd/internal/fleet/fleetconf"
)

// Connect makes the client of etcd. It connects when it is needed.
func Connect(c *fleetconf.Config, o ...grpc.DialOption) (*clientv3.Client, error) {
	secure, err := clientTLS(c)
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: c.EtcdServers, TLS: secure, Username: c.EtcdUsername, Password: c.EtcdPassword,
		DialTimeout: c.EtcdTimeout, DialKeepAliveTime: c.AgentTTL / 3, DialKeepAliveTimeout: c.EtcdTimeout,
		DialOptions: append(o, patience(c.AgentTTL)),
		Logger:      zap.NewNop(), // what fails is said by those who asked
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return client, nil
}

// patience bounds the pauses between attempts to connect. They grow to two
// minutes unless told otherwise: when etcd is back after a long time, a machine
// would be taken for lost before it tries.
func patience(ttl time.Duration) grpc.DialOption {
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: ttl / 100, Multiplier: 1.6, Jitter: 0.2, MaxDelay: ttl / 10},
		MinConnectTimeout: 3 * time.Second,
	})
}

func clientTLS(c *fleetconf.Config) (*tls.Config, error) {
	if c.EtcdCAFile == "" && c.EtcdCertFile == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.EtcdCAFile != "" {
		pool, err := certificates(c.EtcdCAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd_cafile: %w", err)
		}
		t.RootCAs = pool
	}
	if c.EtcdCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.EtcdCertFile, c.EtcdKeyFile)
		if err != nil {
			return nil, fmt.Errorf("etcd_certfile, etcd_keyfile: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// publicIP is the address that packets to others come from: to etcd, unless
// that is on this machine, else to the world. No packet is sent to find out.
func publicIP(servers []string) string {
	for _, s := range append(servers, "udp://192.0.2.1:9", "udp://[2001:db8::1]:9") {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		port := u.Port()
		if port == "" {
			port = "2379"
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || ip.IsLoopback() {
			continue
		}
		conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			continue
		}
		ip := conn.LocalAddr().(*net.UDPAddr).IP
		conn.Close()
		if !ip.IsLoopback() && !ip.IsUnspecified() {
			return ip.String()
		}
	}
	return ""
}
