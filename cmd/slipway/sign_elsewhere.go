package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/keyset"
)

// answer signs, where the keys are, what somebody else wants signed.
func answer(ctx context.Context, dir string, o *signOptions, rep *report.Report) error {
	requests, err := signing.ReadRequests(dir)
	if err != nil {
		return err
	}
	keys, err := openAnswering(ctx, o)
	if err != nil {
		return err
	}
	done := 0
	for i := range requests {
		r := &requests[i]
		for _, s := range keys {
			if s.KeyID() != r.KeyID {
				continue
			}
			if err := r.Answer(ctx, dir, s); err != nil {
				return err
			}
			rep.Step("sign").Done("%s: %s", r.Signature, r.What)
			done++
		}
	}
	if done == 0 {
		return hint.Add(fmt.Errorf("%s: nothing to sign for %s", dir, ids(keys)), "%s says which keys are asked for", filepath.Join(dir, signing.Index))
	}
	return nil
}

// openAnswering opens the keys named, or all keys of a set that are here.
func openAnswering(ctx context.Context, o *signOptions) ([]signing.Signer, error) {
	here := *o
	here.in, here.out = "", "" // a key elsewhere is of no use
	s := &signers{outside: &signing.Outside{}}
	list, err := s.openNamed(ctx, &here)
	if err != nil {
		return nil, err
	}
	if o.set != "" {
		dir, err := openKeyDir(o.set, o.now)
		if err != nil {
			return nil, err
		}
		for i := range dir.file.Set.Keys {
			e := &dir.file.Set.Keys[i]
			if e.Check(o.now) != nil || dir.ref(e.ID) == "" {
				continue
			}
			one, err := dir.open(ctx, e, &signing.Options{Passwords: newPasswords(o.passwordFile).candidates, Outside: s.outside})
			if errors.Is(err, signing.ErrNoOutside) {
				continue
			} else if err != nil {
				return nil, openHint(err)
			}
			list = append(list, one)
		}
	}
	if len(list) == 0 {
		return nil, hint.Add(hint.Usagef("sign: --key missing: who signs?"), "--key REF, or --keys DIR")
	}
	return list, nil
}

// finishKeys puts a change of a key set into place whose signature was made
// elsewhere.
func finishKeys(ctx context.Context, target string, o *signOptions) error {
	path, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	dir := &keyDir{dir: path, refs: map[string]string{}}
	if _, err := os.Stat(dir.path(keyset.FileName)); err == nil {
		if dir, err = openKeyDir(path, o.now); err != nil {
			return err
		}
	} else if err := dir.readReferences(); err != nil {
		return err
	}
	text, err := os.ReadFile(dir.path(unsignedName))
	if err != nil {
		return err
	}
	file, err := keyset.Read(text)
	if err != nil {
		return fmt.Errorf("%s: %w", dir.path(unsignedName), err)
	}
	outside := &signing.Outside{Out: o.out, In: o.in}
	err = dir.finish(ctx, file, o.now, &signing.Options{Passwords: newPasswords(o.passwordFile).candidates, Outside: outside})
	return explainPending(outside, passwordHint(err))
}
