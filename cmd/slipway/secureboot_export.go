package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"slipway/build/authenticode"
	"slipway/build/efivar"
	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/keyset"
)

// secureBootFormats are those of keys export that firmware reads.
func secureBootFormats() []string { return []string{"cert", "esl", "auth"} }

func isSecureBootFormat(format string) bool { return slices.Contains(secureBootFormats(), format) }

// secureBootExportFlags are what those formats need.
func secureBootExportFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "key", Usage: "take the key that `REF` names, which need not be in a set"},
		&cli.StringSliceFlag{Name: "secureboot-cert", Usage: "take the certificate from `FILE`; may be repeated"},
		&cli.StringFlag{Name: "variable", Value: "db", Usage: "format auth is for variable `NAME`: PK, KEK or db"},
		&cli.BoolFlag{Name: "append", Usage: "format auth adds to the variable instead of replacing it"},
		&cli.StringFlag{Name: "signed-by", Usage: "format auth is signed by the key `REF`, which firmware has " +
			"(PK signs PK and KEK, KEK signs db), instead of the key itself"},
	}
}

// exportSecureBoot makes what firmware reads of a key: a certificate, a
// signature list or a signed update of a variable.
func exportSecureBoot(c *cli.Context, now time.Time) ([]byte, error) {
	ctx := c.Context
	certificates, err := readCertificates(c.StringSlice("secureboot-cert"))
	if err != nil {
		return nil, err
	}
	outside := &signing.Outside{Out: c.String("digests-out"), In: c.String("signatures-in")}
	o := &signing.Options{Passwords: newPasswords(c.String("key-password-file")).candidates, Outside: outside}
	id, err := exportedIdentity(ctx, c, o, certificates, now)
	if err != nil {
		return nil, explainPending(outside, err)
	}
	if c.String("format") == "cert" {
		return id.Certificate.Raw, nil
	}
	v, err := efivar.SecureBoot(c.String("variable"), efivar.Certificates(listOwner(), id.Certificate), now)
	if err != nil {
		return nil, hint.Usagef("keys export: %v", err)
	}
	if c.String("format") == "esl" {
		return v.Data, nil
	}
	if c.Bool("append") {
		v.Attributes |= efivar.Append
	}
	by := id
	if ref := c.String("signed-by"); ref != "" {
		if by, err = namedIdentity(ctx, ref, o, certificates); err != nil {
			return nil, explainPending(outside, err)
		}
	}
	out, err := v.SignUpdate(signing.About(ctx, "UEFI variable "+v.Name), by)
	return out, explainPending(outside, err)
}

// listOwner marks entries of signature lists as ours, for people who look at
// what a machine trusts.
func listOwner() uuid.UUID { return uuid.NewSHA1(namespace, []byte("secure boot")) }

// exportedIdentity is the key that the command line chooses, by reference or
// out of a key set.
func exportedIdentity(ctx context.Context, c *cli.Context, o *signing.Options, certificates []*x509.Certificate, now time.Time) (*authenticode.Identity, error) {
	if ref := c.String("key"); ref != "" {
		return namedIdentity(ctx, ref, o, certificates)
	}
	path, err := chosenKeys(c)
	if err != nil {
		return nil, err
	}
	dir, err := openKeyDir(path, now)
	if err != nil {
		return nil, err
	}
	role := keyset.Role(c.String("role"))
	if role == "" {
		role = keyset.Image
	}
	chosen, err := chooseKeys(dir, c.Args().First(), role, now)
	if err != nil {
		return nil, err
	}
	if len(chosen) != 1 {
		return nil, hint.Add(hint.Usagef("keys export: --format %s is for one key, these are %d", c.String("format"), len(chosen)),
			"slipway keys export %s --format %s", chosen[0].ID, c.String("format"))
	}
	s, err := dir.open(ctx, chosen[0], o)
	if err != nil {
		return nil, openHint(err)
	}
	return secureBootIdentity(ctx, s, certificates)
}

func namedIdentity(ctx context.Context, ref string, o *signing.Options, certificates []*x509.Certificate) (*authenticode.Identity, error) {
	s, err := signing.Open(ctx, ref, o)
	if err != nil {
		return nil, openHint(fmt.Errorf("key: %w", err))
	}
	return secureBootIdentity(ctx, s, certificates)
}
