package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"slipway/build/leaks"
	"slipway/build/tree"
	"slipway/cmd/internal/hint"
	"slipway/signing"
)

// checkLeaks refuses to release a tree with keys in it, or with what every
// machine has to make for itself.
func checkLeaks(ctx context.Context, w *workspace, keys *signers, usr *tree.Tree, workers int) error {
	if keys.development {
		return nil
	}
	var known [][]byte
	name := filepath.Join(w.keys, signing.DevelopmentKeyName)
	if _, err := os.Stat(name); err == nil {
		s, err := signing.Open(ctx, name, &signing.Options{})
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKIXPublicKey(s.Public())
		if err != nil {
			return err
		}
		known = append(known, der)
	}
	found, err := leaks.Find(ctx, &leaks.Options{Tree: usr, Development: known, Workers: workers})
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, fmt.Errorf("/usr%s", f))
	}
	return hint.Add(errors.Join(errs...), "mend the overlay that brings it, or list the path under `remove:` in one")
}
