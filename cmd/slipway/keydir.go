package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

const (
	// referencesName says where private keys are that do not lie in the
	// directory: a JSON object, references by key id.
	referencesName = "references.json"
	// unsignedName is a set that waits for a root key elsewhere.
	unsignedName = keyset.FileName + ".unsigned"
)

// keyDir is a directory with a key set: keys.json, and of each key the private
// half in ID.key or its place in references.json.
type keyDir struct {
	dir  string
	file *keyset.File
	refs map[string]string
}

// openKeyDir reads a directory. One of the set's own root keys must have
// signed it.
func openKeyDir(dir string, now time.Time) (*keyDir, error) {
	d := &keyDir{dir: dir}
	if err := d.read(); err != nil {
		return nil, err
	}
	if err := d.file.VerifySelf(now); err != nil {
		return nil, hint.Add(fmt.Errorf("%s: %w", d.path(keyset.FileName), err), "slipway keys list --keys %s", dir)
	}
	return d, nil
}

func (d *keyDir) path(name string) string { return filepath.Join(d.dir, name) }

func (d *keyDir) read() error {
	text, err := os.ReadFile(d.path(keyset.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Add(fmt.Errorf("%s: no key set: there is no %s", d.dir, keyset.FileName), "slipway keys new --keys %s", d.dir)
	} else if err != nil {
		return err
	}
	if d.file, err = keyset.Read(text); err != nil {
		return fmt.Errorf("%s: %w", d.path(keyset.FileName), err)
	}
	return d.readReferences()
}

func (d *keyDir) readReferences() error {
	d.refs = map[string]string{}
	text, err := os.ReadFile(d.path(referencesName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &d.refs); err != nil {
		return fmt.Errorf("%s: %w", d.path(referencesName), err)
	}
	return nil
}

// ref is where the private half of a key is, "" if nobody knows. Relative
// paths start from the directory.
func (d *keyDir) ref(id string) string {
	if ref, ok := d.refs[id]; ok {
		return ref
	}
	if _, err := os.Stat(d.path(id + ".key")); err == nil {
		return id + ".key"
	}
	return ""
}

// open opens the private half of a key of the set.
func (d *keyDir) open(ctx context.Context, e *keyset.Entry, o *signing.Options) (signing.Signer, error) {
	ref := d.ref(e.ID)
	if ref == "" {
		return nil, hint.Add(fmt.Errorf("key %s: its private half is neither in %s nor named in %s", e.ID, d.dir, referencesName),
			"--key REF says where it is; slipway keys rotate --retire %s does without it", e.ID)
	}
	from := *o
	from.Dir = d.dir
	s, err := signing.Open(ctx, ref, &from)
	if err != nil {
		return nil, err
	}
	if s.KeyID() != e.ID {
		return nil, fmt.Errorf("key %q: is %s, the key set wants %s", ref, s.KeyID(), e.ID)
	}
	if e.Development && !s.Development() {
		k, err := key.New(s.Public())
		return signing.New(k, true, s.SignDigest), err
	}
	return s, nil
}

// noKey says why no key signs in a role.
func (d *keyDir) noKey(role keyset.Role, now time.Time) error {
	for i := range d.file.Set.Keys {
		if e := &d.file.Set.Keys[i]; e.Has(role) && !e.Retired {
			return e.Check(now)
		}
	}
	return fmt.Errorf("key set in %s: no key for role %s", d.dir, role)
}

// save signs a new state of the set by every root key that is valid in it and,
// if there is an old state, by one at least that is valid there; then it takes
// the old one's place.
func (d *keyDir) save(ctx context.Context, next *keyset.Set, now time.Time, o *signing.Options) error {
	file, err := keyset.NewFile(next)
	if err != nil {
		return err
	}
	if err := writeAside(d.path(unsignedName), mustEncode(file)); err != nil {
		return err
	}
	return d.finish(ctx, file, now, o)
}

// finish signs a set and puts it into place.
func (d *keyDir) finish(ctx context.Context, file *keyset.File, now time.Time, o *signing.Options) error {
	roots := file.Set.Active(keyset.Root, now)
	if d.file != nil {
		for _, e := range d.file.Set.Active(keyset.Root, now) {
			if !slices.ContainsFunc(roots, func(other *keyset.Entry) bool { return other.ID == e.ID }) {
				roots = append(roots, e)
			}
		}
	}
	ctx = signing.About(ctx, fmt.Sprintf("key set, version %d", file.Set.Version))
	var errs []error
	for _, e := range roots {
		s, err := d.open(ctx, e, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		signature, err := s.SignDigest(ctx, file.Digest())
		if err == nil {
			err = file.Add(e.Key(), signature)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("key set: sign with key %s: %w", e.ID, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err := file.VerifySelf(now)
	if err == nil && d.file != nil {
		err = d.file.VerifySuccessor(file, now)
	}
	if err != nil {
		return err
	}
	if err := writeAside(d.path(keyset.FileName), mustEncode(file)); err != nil {
		return err
	}
	d.file = file
	return os.Remove(d.path(unsignedName))
}

// mustEncode encodes a set that was validated.
func mustEncode(f *keyset.File) []byte {
	text, err := f.Encode()
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return text
}
