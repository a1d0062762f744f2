package lock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"slipway/cmd/internal/updateconf"
)

const (
	// A connection over which nothing comes for so long is dead.
	keepAlive = 30 * time.Second
	maxFile   = 1 << 20
)

// Dial makes a client of etcd. It reads the files that are named and does not
// connect yet.
func Dial(e *updateconf.Etcd) (*clientv3.Client, error) {
	for _, endpoint := range e.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("endpoint %.80q: want http://HOST:PORT or https://HOST:PORT", endpoint)
		}
	}
	c := clientv3.Config{
		Endpoints: e.Endpoints, Username: e.Username, Password: e.Password,
		DialTimeout: requestLimit, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: requestLimit,
		Logger: zap.NewNop(),
	}
	if e.CAFile != "" || e.CertFile != "" || e.KeyFile != "" {
		var err error
		if c.TLS, err = tlsConfig(e); err != nil {
			return nil, err
		}
	}
	return clientv3.New(c)
}

// tlsConfig takes a CA alone, or a key pair alone, as well as both.
func tlsConfig(e *updateconf.Etcd) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		text, err := readFile(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd CA file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd CA file: %s: no certificate in it", e.CAFile)
		}
	}
	switch {
	case e.CertFile == "" && e.KeyFile == "":
		return t, nil
	case e.CertFile == "":
		return nil, errors.New("etcd key file: needs a certificate file too")
	case e.KeyFile == "":
		return nil, errors.New("etcd certificate file: needs a key file too")
	}
	certificate, err := readFile(e.CertFile)
	if err != nil {
		return nil, fmt.Errorf("etcd certificate file: %w", err)
	}
	key, err := readFile(e.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("etcd key file: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("etcd certificate %s with key %s: %w", e.CertFile, e.KeyFile, err)
	}
	t.Certificates = []tls.Certificate{pair}
	return t, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", name, maxFile)
	}
	return text, err
}
