package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

// signFlags are those of every command that signs.
func signFlags() []cli.Flag {
	return append(openFlags(),
		&cli.StringSliceFlag{Name: "key", Usage: "sign with the private key `REF`: a PEM file, exec:PROGRAM?pub=FILE, " +
			"public:FILE (signed elsewhere) or a KMS://...; may be repeated"},
		keysFlag("sign with the keys of the key set in `DIR`, see slipway keys"),
	)
}

// openFlags say how references are opened.
func openFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "key-password-file", Usage: "take the passwords of encrypted keys from `FILE`, one a line"},
		&cli.StringFlag{Name: "digests-out", Usage: "write what keys elsewhere have to sign into `DIR`"},
		&cli.StringFlag{Name: "signatures-in", Usage: "take signatures made elsewhere from `DIR`"},
	}
}

func keysFlag(usage string) cli.Flag { return &cli.StringFlag{Name: "keys", Usage: usage} }

// signOptions is what the command line says about signing.
type signOptions struct {
	refs         []string // of private keys
	set          string   // directory of a key set
	passwordFile string
	out, in      string    // directories of digests and signatures
	release      bool      // development keys are refused
	now          time.Time // to judge the validity of keys by
}

func readSignOptions(c *cli.Context) *signOptions {
	return &signOptions{
		refs: c.StringSlice("key"), set: c.String("keys"), passwordFile: c.String("key-password-file"),
		out: c.String("digests-out"), in: c.String("signatures-in"), release: c.Bool("release"), now: time.Now(),
	}
}

// signers are the keys of one command.
type signers struct {
	image   []signing.Signer // for slots and kernels
	payload []signing.Signer // for payloads and release.json
	// trust is what an image learns of whom to trust.
	trust       *keyset.File
	development bool // what they sign is for trying out

	outside *signing.Outside
	command string // for hints
}

// openSigners opens the keys a command is to sign with: those of a key set,
// those named one by one, or the development key.
func openSigners(ctx context.Context, w *workspace, o *signOptions, rep *report.Report) (*signers, error) {
	s := &signers{outside: &signing.Outside{Out: o.out, In: o.in}}
	named, err := s.openNamed(ctx, o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.set != "":
		err = s.openSet(ctx, o, named)
	case len(named) > 0:
		s.image, s.payload = named, named
		s.trust, err = adHoc(named)
	case o.release:
		err = hint.Add(errors.New("no key: a release is signed by keys of yours"), "--keys DIR or --key REF; slipway keys new makes keys")
	default:
		err = s.openDevelopment(w, rep)
	}
	if err != nil {
		return nil, err
	}
	return s, s.judge(o)
}

// openNamed opens what --key names.
func (s *signers) openNamed(ctx context.Context, o *signOptions) ([]signing.Signer, error) {
	var list []signing.Signer
	for _, ref := range o.refs {
		one, err := signing.Open(ctx, ref, &signing.Options{Passwords: newPasswords(o.passwordFile).candidates, Outside: s.outside})
		if err != nil {
			return nil, openHint(err)
		}
		if slices.ContainsFunc(list, func(other signing.Signer) bool { return other.KeyID() == one.KeyID() }) {
			return nil, hint.Usagef("key %q: %s is given twice", ref, one.KeyID())
		}
		list = append(list, one)
	}
	return list, nil
}

// openHint helps with a key that does not open.
func openHint(err error) error {
	return hint.Add(passwordHint(err), "slipway keys new makes keys; openssl genpkey -algorithm ed25519 -out KEY.pem makes one that --key takes")
}

func passwordHint(err error) error {
	switch {
	case errors.Is(err, signing.ErrNoPassword), errors.Is(err, signing.ErrWrongPassword):
		return hint.Add(err, "export SLIPWAY_KEY_PASSWORD, or --key-password-file FILE")
	case errors.Is(err, signing.ErrNoOutside):
		return hint.Add(err, "--digests-out DIR writes what has to be signed")
	}
	return err
}

// openSet opens the keys of a set that sign today. Keys that were named take
// the place of those the set refers to.
func (s *signers) openSet(ctx context.Context, o *signOptions, named []signing.Signer) error {
	dir, err := openKeyDir(o.set, o.now)
	if err != nil {
		return err
	}
	for _, one := range named {
		e := dir.file.Set.Lookup(one.KeyID())
		if e == nil {
			return hint.Add(fmt.Errorf("key %s: not in the key set in %s", one.KeyID(), o.set), "slipway keys list --keys %s", o.set)
		}
		if err := e.Check(o.now); err != nil {
			return err
		}
	}
	options := &signing.Options{Passwords: newPasswords(o.passwordFile).candidates, Outside: s.outside}
	opened := map[string]signing.Signer{}
	for _, one := range named {
		opened[one.KeyID()] = one
	}
	for _, role := range []keyset.Role{keyset.Image, keyset.Payload} {
		active := dir.file.Set.Active(role, o.now)
		if len(active) == 0 {
			return hint.Add(dir.noKey(role, o.now), "slipway keys new --keys %s --role %s", o.set, role)
		}
		for _, e := range active {
			one := opened[e.ID]
			if one == nil {
				if one, err = dir.open(ctx, e, options); err != nil {
					return openHint(err)
				}
				opened[e.ID] = one
			}
			if role == keyset.Image {
				s.image = append(s.image, one)
			} else {
				s.payload = append(s.payload, one)
			}
		}
	}
	s.trust = dir.file
	return nil
}

// openDevelopment takes the key that is made when none is named.
func (s *signers) openDevelopment(w *workspace, rep *report.Report) error {
	one, created, err := signing.DevelopmentKey(w.keys)
	if err != nil {
		return hint.Add(err, "--key FILE signs with a key of yours")
	}
	if created {
		rep.Warn("made development key %s in %s: images signed by it are for trying out", one.KeyID(), w.keys)
	}
	s.image, s.payload = []signing.Signer{one}, []signing.Signer{one}
	s.trust, err = adHoc(s.image)
	return err
}

// adHoc is the key set of keys that belong to none: each may do everything but
// vouch for other keys.
func adHoc(list []signing.Signer) (*keyset.File, error) {
	set := keyset.New()
	for _, one := range list {
		k, err := key.New(one.Public())
		if err != nil {
			return nil, err
		}
		e := keyset.NewEntry(k, keyset.Image, keyset.Payload)
		e.Development = one.Development()
		set.Keys = append(set.Keys, e)
	}
	return keyset.NewFile(set)
}

// judge refuses development keys among others: an image is for trying out, and
// everything about it says so, or it is not.
func (s *signers) judge(o *signOptions) error {
	var development, release []string
	for i := range s.trust.Set.Keys {
		if e := &s.trust.Set.Keys[i]; e.Development && !e.Retired {
			development = append(development, e.ID)
		}
	}
	for _, one := range s.all() {
		if !one.Development() {
			release = append(release, one.KeyID())
		} else if !slices.Contains(development, one.KeyID()) {
			development = append(development, one.KeyID())
		}
	}
	s.development = len(development) > 0
	switch {
	case s.development && o.release:
		return hint.Add(fmt.Errorf("key %s: a development key signs no release", development[0]), "slipway keys new makes other keys")
	case s.development && len(release) > 0:
		return hint.Add(fmt.Errorf("key %s: a development key does not go with %s, which is for releases", development[0], release[0]),
			"leave one of them out, or slipway keys rotate --retire %s", development[0])
	}
	return nil
}

// all lists every key once.
func (s *signers) all() []signing.Signer {
	list := slices.Clone(s.image)
	for _, one := range s.payload {
		if !slices.ContainsFunc(list, func(other signing.Signer) bool { return other.KeyID() == one.KeyID() }) {
			list = append(list, one)
		}
	}
	return list
}

// trusted are the public keys an image of that date trusts to sign slots, as
// the initramfs keeps them: PEM by key id.
func (s *signers) trusted(date time.Time) map[string][]byte {
	list := map[string][]byte{}
	for _, k := range s.trust.Set.Trusted(keyset.Image, date) {
		list[k.ID] = k.PEM()
	}
	return list
}

// digest covers what of the keys goes into an image: who signs it and whom it
// trusts.
func (s *signers) digest() (string, error) {
	text, err := s.trust.Encode()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(text)
	for _, one := range s.all() {
		fmt.Fprintf(h, "%s\n", one.KeyID())
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// explain tells what to do about signatures that are to be made elsewhere.
func (s *signers) explain(err error) error { return explainPending(s.outside, err) }

func explainPending(outside *signing.Outside, err error) error {
	if !signing.OnlyPending(err) {
		return passwordHint(err)
	}
	pending := outside.Pending()
	noun := "digests"
	if len(pending) == 1 {
		noun = "digest"
	}
	return hint.Add(fmt.Errorf("%d %s to sign in %s: %w", len(pending), noun, outside.Out, errPending),
		"sign them (slipway sign %s --key KEY, where the key is), then run this again with --signatures-in DIR", outside.Out)
}

// errPending tells a script that the command is to be run again.
var errPending = errors.New("nothing is written until the signatures are there")

// footerSigners are signers as package footer wants them.
func footerSigners(list []signing.Signer) []footer.Signer {
	out := make([]footer.Signer, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// releaseSigners are signers as package release wants them.
func releaseSigners(list []signing.Signer) []release.Signer {
	out := make([]release.Signer, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
