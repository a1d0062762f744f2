package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// serveTLS loads the certificate, if there is to be TLS.
func serveTLS(c *cli.Context) (*tls.Config, error) {
	cert, key := c.String("tls-cert"), c.String("tls-key")
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, hint.Add(hint.Usagef("serve: --tls-cert and --tls-key belong together"), "slipway serve --help")
	}
	pair := &certificate{cert: cert, key: key}
	if _, err := pair.get(nil); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12}, nil
}

// certificate is a certificate in files, which are read again when they
// change: it is renewed while the server runs.
type certificate struct {
	cert, key string

	mu   sync.Mutex
	pair *tls.Certificate
	time time.Time // of the files
}

// get gives the certificate as it is now, or as it was if the files make no
// sense at the moment.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest time.Time
	for _, name := range []string{c.cert, c.key} {
		if st, err := os.Stat(name); err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	if c.pair != nil && newest.Equal(c.time) {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil && c.pair == nil {
		return nil, err
	}
	if err == nil {
		c.pair, c.time = &pair, newest
	}
	return c.pair, nil
}

// pointerKeys gives the keys whose signature under a channel's pointer counts:
// those of --pub, as they are valid at a time, or the development key.
func pointerKeys(c *cli.Context) (func(time.Time) []key.Key, error) {
	accept, err := readAccepted(c)
	if err != nil {
		return nil, err
	}
	dir, err := keysDir()
	if err != nil {
		return nil, err
	}
	return func(now time.Time) []key.Key {
		if accept.none() {
			return developmentKey(dir)
		}
		today := *accept
		today.now = now
		return today.as(keyset.Payload)
	}, nil
}

// developmentKey is the public half of the development key, if there is one.
func developmentKey(dir string) []key.Key {
	if _, err := os.Stat(filepath.Join(dir, signing.DevelopmentKeyName)); err != nil {
		return nil // it is not made here
	}
	one, _, err := signing.DevelopmentKey(dir)
	if err != nil {
		return nil
	}
	k, err := key.New(one.Public())
	if err != nil {
		return nil
	}
	return []key.Key{k}
}
