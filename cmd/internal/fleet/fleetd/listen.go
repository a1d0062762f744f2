package fleetd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"slipway/cmd/internal/fleet/fleetconf"
)

// listen opens what the API is served on: the sockets that systemd hands over,
// else the one of the configuration, and TCP if the configuration has it. TCP
// is with TLS and certificates of clients, always.
func listen(c *fleetconf.Config) (list []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			list = nil
		}
	}()
	if list, err = activation.Listeners(); err != nil {
		return list, err
	}
	if len(list) == 0 {
		l, err := listenSocket(c.APISocket)
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	secure, err := serverTLS(c)
	if err != nil {
		return list, err
	}
	for i, l := range list {
		switch {
		case l == nil:
			return list, errors.New("systemd handed over something that is not a listening socket")
		case l.Addr().Network() == "unix":
		case secure == nil:
			return list, fmt.Errorf("socket %s is open to the network: it needs api_cafile, api_certfile and api_keyfile", l.Addr())
		default:
			list[i] = tls.NewListener(l, secure)
		}
	}
	if c.APIListen != "" {
		l, err := tls.Listen("tcp", c.APIListen, secure)
		if err != nil {
			return list, fmt.Errorf("api_listen: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// listenSocket takes the place of a socket that nobody listens on.
func listenSocket(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("api_socket %s: another program listens on it", path)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("api_socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serverTLS is nil if nothing is configured.
func serverTLS(c *fleetconf.Config) (*tls.Config, error) {
	if c.APICAFile == "" || c.APICertFile == "" || c.APIKeyFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.APICertFile, c.APIKeyFile)
	if err != nil {
		return nil, fmt.Errorf("api_certfile, api_keyfile: %w", err)
	}
	pool, err := certificates(c.APICAFile)
	if err != nil {
		return nil, fmt.Errorf("api_cafile: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
}

func certificates(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificates", name)
	}
	return pool, nil
}
