package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// keysWork is one change of a key set.
type keysWork struct {
	c    *cli.Context
	now  time.Time
	dir  *keyDir
	next *keyset.Set // as it shall be
	refs bool        // references.json changes too
	made []string    // files of new private keys
	new  []string    // ids of new keys

	passwords *passwords
	password  []byte // for new keys, once chosen
	outside   *signing.Outside
}

// openKeys opens the key set a command works on, or, if create is set, begins
// one where there is none.
func openKeys(c *cli.Context, create bool) (*keysWork, error) {
	if err := arguments(c, 0, 0); err != nil {
		return nil, err
	}
	dir, err := chosenKeys(c)
	if err != nil {
		return nil, err
	}
	k := &keysWork{
		c: c, now: time.Now(), passwords: newPasswords(c.String("key-password-file")),
		outside: &signing.Outside{Out: c.String("digests-out"), In: c.String("signatures-in")},
	}
	if _, err := os.Lstat(filepath.Join(dir, unsignedName)); err == nil {
		return nil, hint.Add(fmt.Errorf("%s: a change of the key set waits for its signature", filepath.Join(dir, unsignedName)),
			"slipway sign %s --signatures-in DIR, or delete it to take the change back", dir)
	}
	_, err = os.Stat(filepath.Join(dir, keyset.FileName))
	if create && errors.Is(err, fs.ErrNotExist) {
		k.dir, k.next = &keyDir{dir: dir, refs: map[string]string{}}, keyset.New()
		return k, os.MkdirAll(dir, 0o700)
	}
	if k.dir, err = openKeyDir(dir, k.now); err != nil {
		return nil, err
	}
	next := *k.dir.file.Set
	next.Keys = append([]keyset.Entry(nil), next.Keys...)
	k.next = &next
	return k, nil
}

func chosenKeys(c *cli.Context) (string, error) {
	dir := c.String("keys")
	if dir == "" {
		var err error
		if dir, err = keysDir(); err != nil {
			return "", err
		}
	}
	return filepath.Abs(dir)
}

// add makes a key, or takes the one --from names, and puts it into the set.
func (k *keysWork) add(kind string, roles []keyset.Role, development bool) (*keyset.Entry, error) {
	from, until, err := k.validity(roles)
	if err != nil {
		return nil, err
	}
	var public key.Key
	if ref := k.c.String("from"); ref != "" {
		public, development, err = k.adopt(ref)
	} else {
		public, err = k.generate(kind, development)
	}
	if err != nil {
		return nil, err
	}
	e := keyset.NewEntry(public, roles...)
	e.Development, e.NotBefore, e.NotAfter = development, from, until
	if k.next.Lookup(e.ID) != nil {
		return nil, fmt.Errorf("key %s: in the set already", e.ID)
	}
	k.next.Keys = append(k.next.Keys, e)
	k.new = append(k.new, e.ID)
	return &k.next.Keys[len(k.next.Keys)-1], nil
}

// adopt takes a key that exists, wherever it is.
func (k *keysWork) adopt(ref string) (key.Key, bool, error) {
	s, err := signing.Open(k.c.Context, ref, &signing.Options{Passwords: k.passwords.candidates})
	if err != nil {
		return key.Key{}, false, openHint(err)
	}
	here, err := os.Getwd()
	if err != nil {
		return key.Key{}, false, err
	}
	k.dir.refs[s.KeyID()] = signing.Rebase(ref, here, k.dir.dir)
	k.refs = true
	public, err := key.New(s.Public())
	return public, s.Development(), err
}

// generate makes a private key and writes it beside the set.
func (k *keysWork) generate(kind string, development bool) (key.Key, error) {
	if kind == "" {
		kind = "ecdsa-p256"
	}
	if !slices.Contains(signing.Kinds(), kind) {
		return key.Key{}, hint.Add(hint.Usagef("keys %s: --algorithm %q: unknown", k.c.Command.Name, kind),
			"--algorithm %s", strings.Join(signing.Kinds(), ", "))
	}
	if k.password == nil && !development {
		var err error
		if k.password, err = k.passwords.choose(); err != nil {
			return key.Key{}, hint.Add(err, "export SLIPWAY_KEY_PASSWORD, or --key-password-file FILE")
		}
	}
	private, err := signing.Generate(kind)
	if err != nil {
		return key.Key{}, err
	}
	text, err := signing.EncodePrivate(private, k.password, development)
	if err != nil {
		return key.Key{}, err
	}
	public, err := key.New(private.Public())
	if err != nil {
		return key.Key{}, err
	}
	name := k.dir.path(public.ID + ".key")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return key.Key{}, err
	}
	k.made = append(k.made, name)
	_, err = f.Write(text)
	return public, errors.Join(err, f.Sync(), f.Close())
}

// undo removes the private keys that were made in vain.
func (k *keysWork) undo() error {
	var errs []error
	for _, name := range append(k.made, k.dir.path(unsignedName)) {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// validity is from when to when a new key signs: whole days, in UTC.
func (k *keysWork) validity(roles []keyset.Role) (from, until *time.Time, err error) {
	start := k.now.UTC().Truncate(24 * time.Hour)
	if text := k.c.String("starts"); text != "" {
		if start, err = time.Parse(time.DateOnly, text); err != nil {
			return nil, nil, hint.Add(hint.Usagef("keys %s: --starts %q: not a date", k.c.Command.Name, text), "--starts 2027-01-31")
		}
	}
	text := k.c.String("valid-for")
	switch {
	case text != "":
	case slices.Contains(roles, keyset.Root):
		text = "10y"
	default:
		text = "5y"
	}
	end, ok := addTime(start, text)
	if !ok {
		return nil, nil, hint.Add(hint.Usagef("keys %s: --valid-for %q: not a number of days or years", k.c.Command.Name, text), "--valid-for 5y")
	}
	return &start, &end, nil
}

// addTime adds a number of days ("90d") or years ("5y").
func addTime(t time.Time, text string) (time.Time, bool) {
	if text == "" {
		return t, false
	}
	n, err := strconv.Atoi(text[:len(text)-1])
	if err != nil || n < 1 || n > 36500 {
		return t, false
	}
	switch text[len(text)-1] {
	case 'd':
		return t.AddDate(0, 0, n), true
	case 'y':
		return t.AddDate(n, 0, 0), n <= 100
	}
	return t, false
}

// save signs the set, puts it into place and says what changed.
func (k *keysWork) save() error {
	k.next.Version++
	options := &signing.Options{Passwords: k.passwords.candidates, Outside: k.outside}
	if k.password != nil {
		// The root key may be one of those just made.
		options.Passwords = func(ref string) ([][]byte, error) {
			list, err := k.passwords.given()
			if len(list) == 0 && err == nil && slices.Contains(k.new, strings.TrimSuffix(ref, ".key")) {
				return [][]byte{k.password}, nil
			}
			return k.passwords.candidates(ref)
		}
	}
	if k.refs {
		text, err := json.MarshalIndent(k.dir.refs, "", "  ")
		if err != nil {
			return err
		}
		if err := writeAside(k.dir.path(referencesName), append(text, '\n')); err != nil {
			return errors.Join(err, k.undo())
		}
	}
	err := k.dir.save(k.c.Context, k.next, k.now, options)
	if signing.OnlyPending(err) {
		return hint.Add(explainPending(k.outside, err), "sign them, then slipway sign %s --signatures-in DIR", k.dir.dir)
	}
	if err != nil {
		return errors.Join(passwordHint(err), k.undo())
	}
	return nil
}

// say lists the keys that were made.
func (k *keysWork) say() error {
	doc := describeKeys(k.dir, k.now)
	doc.Keys = slices.DeleteFunc(doc.Keys, func(d keyDoc) bool { return !slices.Contains(k.new, d.ID) })
	if k.c.Bool("json") {
		return printJSON(k.c.App.Writer, doc)
	}
	return doc.print(k.c.App.Writer)
}
