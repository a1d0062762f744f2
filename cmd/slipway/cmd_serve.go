package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/server"
)

const serveHelp = `Answers machines that ask for updates and serves them the payloads of a
directory of releases. Machines find it by SERVER=http://HOST:PORT/v1/update/ in
/etc/coreos/update.conf. The file rollout.yaml in the directory of releases says
how a channel is rolled out, and is read again when it changes:

   alpha:
     percent: 25            # of the machines, chosen by their ids
     halt-after: 5%         # of the machines that tried it, or a number of them:
                            # on so many may a version fail before it is halted
     resume: 4889.0.0       # was halted, is to go on
   stable:
     paused: true
     floors: [4888.0.0]     # versions that no machine may skip
     retry-failed: 48h      # before a machine gets again what failed on it

A channel gives the release that its signed pointer names (see slipway promote),
or without one the release that the link "current" leads to. Pointers have to be
signed by a key that --pub names, or else by this user's development key, and
one that was replaced cannot come back.

/ is a page for people, /metrics for Prometheus, /healthz for load balancers.
/new?size=3 gives the members of a new etcd cluster an address by which they
find each other: ETCD_DISCOVERY, for a week.
Release directories can as well be served by any static web server.`

const (
	// rescan is how often the server looks for new releases and rules.
	rescan = 2 * time.Second
	// drain is how long downloads may go on after Ctrl-C.
	drain = 10 * time.Second
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "give updates to machines",
		Description: serveHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8000", Usage: "answer at `ADDR`; :8000 is every network"},
			&cli.StringFlag{Name: "releases", Value: "out", Usage: "serve the releases in `DIR`"},
			&cli.StringFlag{Name: "database", Usage: "remember machines in `FILE` (default: .machines.db in the directory of releases)"},
			&cli.StringFlag{Name: "url", Usage: "tell machines that payloads are at `URL`, if it is not the host they ask"},
			&cli.DurationFlag{Name: "poll", Usage: "tell machines to ask again after `TIME`, such as 1h"},
			pubFlag(),
			&cli.StringFlag{Name: "tls-cert", Usage: "answer by TLS with the certificate in `FILE`"},
			&cli.StringFlag{Name: "tls-key", Usage: "the private key of the certificate, a PEM `FILE`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			return serve(c)
		},
	}
}

func serve(c *cli.Context) (err error) {
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
	if c.Bool("json") {
		log = slog.New(slog.NewJSONHandler(c.App.Writer, nil))
	}
	config, err := serveTLS(c)
	if err != nil {
		return err
	}
	keys, err := pointerKeys(c)
	if err != nil {
		return err
	}
	database := c.String("database")
	if database == "" {
		database = filepath.Join(c.String("releases"), ".machines.db")
	}
	s, err := server.New(&server.Options{
		Releases: c.String("releases"), Database: database, URL: c.String("url"),
		PollInterval: c.Duration("poll"), Keys: keys, Now: time.Now, Random: rand.Reader, Log: log,
	})
	if _, ok := errors.AsType[*release.UnsignedError](err); ok {
		return hint.Add(fmt.Errorf("serve: %w", err), "--pub FILE names the key that signs the pointers of channels")
	}
	if err != nil {
		return hint.Add(fmt.Errorf("serve: %w", err), "slipway build makes releases below out/; --releases DIR names another directory")
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	listener, err := (&net.ListenConfig{}).Listen(c.Context, "tcp", c.String("listen"))
	if err != nil {
		return hint.Add(fmt.Errorf("serve: %w", err), "--listen 127.0.0.1:0 takes any free port")
	}
	h := s.HTTP()
	h.TLSConfig = config
	log.Info("serving", "address", listener.Addr().String(), "releases", c.String("releases"), "tls", config != nil)
	go s.Watch(c.Context, rescan)
	stopped := make(chan error, 1)
	go func() {
		<-c.Context.Done()
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		err := h.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = h.Close() // whoever downloads goes on with the next server
		}
		stopped <- err
	}()
	answer := h.Serve
	if config != nil {
		answer = func(l net.Listener) error { return h.ServeTLS(l, "", "") }
	}
	if err := answer(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}
