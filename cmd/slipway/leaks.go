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
	"slipway/cmd/internal/report"
	"slipway/signing"
)

// checkLeaks looks for keys in a tree, and for what every machine has to make
// for itself. With any of it an image is not released; one for trying out is
// made with a warning.
func checkLeaks(ctx context.Context, w *workspace, keys *signers, usr *tree.Tree, workers int, rep *report.Report) error {
	o := &leaks.Options{Tree: usr, Workers: workers}
	if !keys.development {
		var err error
		if o.Development, err = knownDevelopmentKeys(ctx, w); err != nil {
			return err
		}
	}
	name := filepath.Join(w.cache, "steps", "leaks")
	o.Clean = readDigests(name)
	before := len(o.Clean)
	found, err := leaks.Find(ctx, o)
	if err != nil {
		return err
	}
	if len(o.Clean) != before {
		if err := writeDigests(name, o.Clean); err != nil {
			return err
		}
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, fmt.Errorf("/usr%s", f))
		if keys.development {
			rep.Warn("/usr%s: no release build makes such an image", f)
		}
	}
	if keys.development {
		return nil
	}
	return hint.Add(errors.Join(errs...), "mend the overlay that brings it, or list the path under `remove:` in one")
}

// knownDevelopmentKeys is the public half of the development key of this user,
// if there is one.
func knownDevelopmentKeys(ctx context.Context, w *workspace) ([][]byte, error) {
	name := filepath.Join(w.keys, signing.DevelopmentKeyName)
	if _, err := os.Stat(name); err != nil {
		return nil, nil
	}
	s, err := signing.Open(ctx, name, &signing.Options{})
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	return [][]byte{der}, err
}

// maxDigests bounds a file of digests; an image has a fiftieth.
const maxDigests = 200_000

// readDigests reads what writeDigests wrote. A file that is not there, or
// damaged, is as good as an empty one.
func readDigests(name string) map[[32]byte]bool {
	list := map[[32]byte]bool{}
	st, err := os.Stat(name)
	if err != nil || st.Size() > maxDigests*32 || st.Size()%32 != 0 {
		return list
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return list
	}
	for ; len(data) >= 32; data = data[32:] {
		list[[32]byte(data)] = true
	}
	return list
}

func writeDigests(name string, list map[[32]byte]bool) error {
	if len(list) > maxDigests {
		return os.Remove(name)
	}
	data := make([]byte, 0, len(list)*32)
	for digest := range list {
		data = append(data, digest[:]...)
	}
	return writeAside(name, data)
}
