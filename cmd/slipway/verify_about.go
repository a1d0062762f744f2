package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"slipway/cmd/internal/release"
	"slipway/signing/keyset"
)

// evidence checks who signed the results of tests, not that they are good.
func (v *verifier) evidence(context.Context) (string, error) {
	d, err := release.ReadEvidence(v.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	signedBy, err := d.Verify(v.accept.as(keyset.Payload))
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.EvidenceFile, v.accept.explain(err))
	}
	said := "none failed"
	passed, err := d.Body.Check(v.info, nil)
	if err != nil {
		said = err.Error()
	}
	return fmt.Sprintf("%d cases passed, %s, signed by %s", passed, said, strings.Join(signedBy, ", ")), nil
}

// pointer checks the pointer of the channel, if it names this release.
func (v *verifier) pointer(context.Context) (string, error) {
	dir, err := filepath.Abs(v.dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	channel := filepath.Dir(dir)
	d, err := release.ReadPointer(channel)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	if err == nil && d.Body.Version != filepath.Base(dir) {
		return "gives " + d.Body.Version + ", not this version", nil
	}
	if err != nil {
		return "", err
	}
	signedBy, err := d.Verify(v.accept.as(keyset.Payload))
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.PointerFile, v.accept.explain(err))
	}
	if _, err := d.Body.ReadNamed(channel); err != nil {
		return "", err
	}
	return fmt.Sprintf("number %d, %s gives %s, signed by %s", d.Body.Sequence, d.Body.Channel, d.Body.Version,
		strings.Join(signedBy, ", ")), nil
}
