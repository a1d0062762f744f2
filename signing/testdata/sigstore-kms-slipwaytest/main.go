// Command sigstore-kms-slipwaytest is a key service for tests: it speaks
// sigstore's plugin protocol and keeps one key of each kind, made out of the
// name that follows "slipwaytest://".
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

func main() {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		_ = handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(1)
	}
	s, err := open(args.InitOptions.KeyResourceID)
	if err != nil {
		_ = handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(1)
	}
	if _, err := handler.Dispatch(os.Stdout, os.Stdin, args, s); err != nil {
		os.Exit(1)
	}
}

// service is one key.
type service struct {
	key  crypto.Signer
	slow bool
}

func open(name string) (*service, error) {
	switch {
	case name == "ed25519":
		return &service{key: ed25519.NewKeyFromSeed(make([]byte, 32))}, nil
	case name == "p256":
		seed := strings.Repeat("\x01", 32)
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte(seed))
		return &service{key: k}, err
	case name == "p384":
		seed := strings.Repeat("\x01", 48)
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), []byte(seed))
		return &service{key: k}, err
	case strings.HasPrefix(name, "file/"): // an RSA key
		text, err := os.ReadFile(strings.TrimPrefix(name, "file"))
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(text)
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return &service{key: k.(crypto.Signer)}, nil
	case name == "slow":
		return &service{key: ed25519.NewKeyFromSeed(make([]byte, 32)), slow: true}, nil
	}
	return nil, errors.New("no key " + name + " in this service")
}

func (s *service) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.key.Public(), nil
}

func (s *service) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	if s.slow {
		time.Sleep(time.Minute)
	}
	var digest []byte
	var hash crypto.SignerOpts = crypto.Hash(0)
	for _, o := range opts {
		o.ApplyDigest(&digest)
		o.ApplyCryptoSignerOpts(&hash)
	}
	if digest == nil {
		var err error
		if digest, err = io.ReadAll(message); err != nil {
			return nil, err
		}
	}
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		hash = crypto.Hash(0)
	}
	return s.key.Sign(nil, digest, hash)
}

func (s *service) VerifySignature(_, _ io.Reader, _ ...signature.VerifyOption) error {
	return errors.New("not wanted")
}

func (s *service) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("not wanted")
}

func (s *service) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("not wanted")
}
func (s *service) SupportedAlgorithms() []string { return nil }
func (s *service) DefaultAlgorithm() string      { return "" }
