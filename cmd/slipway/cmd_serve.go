package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/server"
)

const serveHelp = `Answers machines that ask for updates and serves them the payloads of a
directory of releases. Machines find it by SERVER=http://HOST:PORT/v1/update/ in
/etc/coreos/update.conf. The file rollout.yaml in the directory of releases says
how a channel is rolled out, and is read again when it changes:

   alpha:
     percent: 25            # of the machines, chosen by their ids
   stable:
     paused: true
     floors: [4888.0.0]     # versions that no machine may skip
     retry-failed: 48h      # before a machine gets again what failed on it

/ is a page for people, /metrics for Prometheus, /healthz for load balancers.
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
	database := c.String("database")
	if database == "" {
		database = filepath.Join(c.String("releases"), ".machines.db")
	}
	s, err := server.New(&server.Options{
		Releases: c.String("releases"), Database: database, URL: c.String("url"),
		PollInterval: c.Duration("poll"), Now: time.Now, Log: log,
	})
	if err != nil {
		return hint.Add(fmt.Errorf("serve: %w", err), "slipway build makes releases below out/; --releases DIR names another directory")
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	listener, err := (&net.ListenConfig{}).Listen(c.Context, "tcp", c.String("listen"))
	if err != nil {
		return hint.Add(fmt.Errorf("serve: %w", err), "--listen 127.0.0.1:0 takes any free port")
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("serving", "address", listener.Addr().String(), "releases", c.String("releases"), "tls", config != nil)
	go s.Watch(c.Context, rescan)
	stopped := make(chan error, 1)
	go func() {
		<-c.Context.Done()
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		stopped <- h.Shutdown(ctx)
	}()
	if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// serveTLS loads the certificate, if there is to be TLS.
func serveTLS(c *cli.Context) (*tls.Config, error) {
	cert, key := c.String("tls-cert"), c.String("tls-key")
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, hint.Add(hint.Usagef("serve: --tls-cert and --tls-key belong together"), "slipway serve --help")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
