package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

func pubFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "pub", Usage: "check signatures with the public key in `FILE`, " +
		"or with the keys of a key set (keys.json, or its directory) that are valid today; may be repeated"}
}

// accepted are the keys whose signatures a command takes.
type accepted struct {
	keys []key.Key     // named one by one: for anything
	sets []*keyset.Set // for what their roles say, while they are valid
	now  time.Time
}

// readAccepted reads what --pub names.
func readAccepted(c *cli.Context) (*accepted, error) {
	a := &accepted{now: time.Now()}
	for _, name := range c.StringSlice("pub") {
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			name = filepath.Join(name, keyset.FileName)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			err = a.addSet(text)
		} else {
			var k key.Key
			k, err = key.Parse(text)
			a.keys = append(a.keys, k)
		}
		if err != nil {
			return nil, hint.Add(fmt.Errorf("%s: %w", name, err), "--pub takes a public key in PEM, or a key set")
		}
	}
	return a, nil
}

func (a *accepted) addSet(text []byte) error {
	f, err := keyset.Read(text)
	if err == nil {
		err = f.VerifySelf(a.now)
	}
	if err != nil {
		return err
	}
	a.sets = append(a.sets, f.Set)
	return nil
}

// none says that no signature at all would count.
func (a *accepted) none() bool { return len(a.keys) == 0 && len(a.sets) == 0 }

// as lists the keys whose signature counts in one of the roles.
func (a *accepted) as(roles ...keyset.Role) []key.Key {
	list := slices.Clone(a.keys)
	for _, set := range a.sets {
		for _, role := range roles {
			for _, e := range set.Active(role, a.now) {
				if !slices.ContainsFunc(list, func(k key.Key) bool { return k.ID == e.ID }) {
					list = append(list, e.Key())
				}
			}
		}
	}
	return list
}

// explain adds to a refusal why a key that is known does not count.
func (a *accepted) explain(err error) error {
	var signed []string
	if e, ok := errors.AsType[*release.UnsignedError](err); ok {
		signed = e.Have
	}
	if e, ok := errors.AsType[*footer.UnknownKeyError](err); ok {
		signed = e.Have
	}
	for _, id := range signed {
		for _, set := range a.sets {
			if e := set.Lookup(id); e != nil {
				why := e.Check(a.now)
				if why == nil {
					why = fmt.Errorf("key %s: only for %s", id, joinRoles(e.Roles))
				}
				return fmt.Errorf("%w: %w", err, why)
			}
		}
	}
	return err
}
