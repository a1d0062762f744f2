package fleetctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"slipway/cmd/internal/fleet/api"
)

// connect prepares the client; it does not reach for anything yet.
func (s *session) connect() error {
	if !strings.EqualFold(s.driver, "API") {
		return fmt.Errorf("unrecognized driver %q", s.driver)
	}
	first, _, more := strings.Cut(s.endpoint, ",")
	if more {
		s.stderr("WARNING: multiple endpoints provided but only the first (%s) is used", first)
	}
	u, err := url.Parse(first)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	switch u.Scheme {
	case "unix", "file":
		// People leave out a slash: "unix://run/fleet.sock".
		if u.Host != "" {
			return fmt.Errorf("unable to connect to host %q with scheme %q", u.Host, u.Scheme)
		}
		transport.DialContext = s.dialer(u.Path)
		u = &url.URL{Scheme: "http", Host: "domain-sock"}
	case "http", "https":
		transport.DialContext = s.dialer("")
		if transport.TLSClientConfig, err = s.tlsConfig(); err != nil {
			return err
		}
	case "":
		return errors.New("URL scheme undefined")
	default:
		return fmt.Errorf("unsupported URL scheme %q", u.Scheme)
	}
	s.client = &api.Client{HTTP: &http.Client{Transport: transport}, URL: u.String()}
	return nil
}

// dialer connects to a socket, or to the address it is asked for if there is
// none, through the tunnel if there is one.
func (s *session) dialer(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if s.tunnel != "" {
			// The connection outlives the request it was made for.
			pipe, err := s.Pipe(s.ctx, s.tunnelCommand(socket, address))
			if err != nil {
				return nil, err
			}
			return &pipeConn{pipe}, nil
		}
		if socket != "" {
			network, address = "unix", socket
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

func (s *session) tlsConfig() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" && s.keyFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		text, err := readFile(s.path(s.caFile), 1<<20)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificates", s.caFile)
		}
	}
	if s.certFile == "" && s.keyFile == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(s.path(s.certFile), s.path(s.keyFile))
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// pipeConn makes a connection of a program's input and output.
type pipeConn struct{ io.ReadWriteCloser }

func (pipeConn) LocalAddr() net.Addr              { return pipeAddr{} }
func (pipeConn) RemoteAddr() net.Addr             { return pipeAddr{} }
func (pipeConn) SetDeadline(time.Time) error      { return nil }
func (pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (pipeConn) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "ssh" }
func (pipeAddr) String() string  { return "ssh" }

// runForward connects standard input and output with a socket, for tunnels.
func runForward(s *session) int {
	if len(s.args) != 1 {
		s.stderr("Provide a single argument")
		return exitFailed
	}
	conn, err := new(net.Dialer).DialContext(s.ctx, "unix", s.args[0])
	if err != nil {
		s.stderr("Failed dialing remote address: %v", err)
		return exitFailed
	}
	defer conn.Close()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(s.Stdout, conn); ended <- err }()
	go func() { _, err := io.Copy(conn, s.Stdin); ended <- err }()
	select {
	case <-s.ctx.Done():
	case err = <-ended:
	}
	if err != nil {
		s.stderr("Encountered error during copy: %v", err)
		return exitFailed
	}
	return exitDone
}
