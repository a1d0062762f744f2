package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"crypto/x509"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing"
	"slipway/signing/keyset"
)

const keysExportHelp = `Writes public keys: in PEM, as --pub and openssl take them, or one in DER. The
format cosign gives the private half as cosign keeps its own, encrypted with the
password of the key.

For firmware with Secure Boot there are the certificate of a key that signs UKIs
(cert, in DER), the signature list with it (esl), and a signed update of the
variable db, KEK or PK (auth), as efi-updatevar and setup menus take it.`

func keysExportCommand() *cli.Command {
	return &cli.Command{
		Name:        "export",
		Usage:       "write keys for other programs",
		ArgsUsage:   "[ID]",
		Description: keysExportHelp,
		Flags: append(append(openFlags(), secureBootExportFlags()...),
			keysFlag("take the key from the key set in `DIR`"),
			&cli.StringFlag{Name: "role", Usage: "export the keys that sign as `ROLE`: root, image or payload"},
			&cli.StringFlag{Name: "format", Value: "pem", Usage: "`FORMAT`: pem, der or cosign; cert, esl or auth for Secure Boot"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of the standard output"},
		),
		Action: runKeysExport,
	}
}

func runKeysExport(c *cli.Context) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	now := time.Now()
	if isSecureBootFormat(c.String("format")) {
		out, err := exportSecureBoot(c, now)
		if err != nil {
			return err
		}
		return writeExport(c, out, 0o644)
	}
	path, err := chosenKeys(c)
	if err != nil {
		return err
	}
	dir, err := openKeyDir(path, now)
	if err != nil {
		return err
	}
	chosen, err := chooseKeys(dir, c.Args().First(), keyset.Role(c.String("role")), now)
	if err != nil {
		return err
	}
	if c.String("format") != "pem" && len(chosen) != 1 {
		return hint.Add(hint.Usagef("keys export: --format %s is for one key, these are %d", c.String("format"), len(chosen)),
			"slipway keys export %s --format %s", chosen[0].ID, c.String("format"))
	}
	var out []byte
	mode := os.FileMode(0o644)
	switch c.String("format") {
	case "pem":
		for _, e := range chosen {
			text := e.Key().PEM()
			if e.Development {
				text = signing.MarkDevelopment(text)
			}
			out = append(out, text...)
		}
	case "der":
		out, err = x509.MarshalPKIXPublicKey(chosen[0].Key().Public())
	case "cosign":
		mode = 0o600
		out, err = exportCosign(dir, chosen[0], newPasswords(c.String("key-password-file")))
	default:
		err = hint.Add(hint.Usagef("keys export: --format %q: unknown", c.String("format")), "--format pem, der, cosign, cert, esl or auth")
	}
	if err != nil {
		return err
	}
	return writeExport(c, out, mode)
}

func writeExport(c *cli.Context, out []byte, mode os.FileMode) error {
	if name := c.String("output"); name != "" {
		return os.WriteFile(name, out, mode)
	}
	_, err := c.App.Writer.Write(out)
	return err
}

// chooseKeys finds a key by its id, or those that sign in a role.
func chooseKeys(dir *keyDir, id string, role keyset.Role, now time.Time) ([]*keyset.Entry, error) {
	if id != "" {
		e := dir.file.Set.Lookup(id)
		if e == nil {
			return nil, hint.Add(fmt.Errorf("key %.40q: not in the key set in %s", id, dir.dir), "slipway keys list --keys %s", dir.dir)
		}
		return []*keyset.Entry{e}, nil
	}
	var list []*keyset.Entry
	for i := range dir.file.Set.Keys {
		e := &dir.file.Set.Keys[i]
		if e.Check(now) == nil && (role == "" || e.Has(role)) {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil, dir.noKey(role, now)
	}
	return list, nil
}

// exportCosign gives a private half that lies beside the set.
func exportCosign(dir *keyDir, e *keyset.Entry, p *passwords) ([]byte, error) {
	text, err := os.ReadFile(dir.path(e.ID + ".key"))
	if err != nil {
		return nil, fmt.Errorf("key %s: its private half is not in %s: %w", e.ID, dir.dir, errors.Unwrap(err))
	}
	list, err := p.candidates(e.ID)
	if err != nil {
		return nil, openHint(fmt.Errorf("key %s: %w", e.ID, err))
	}
	out, err := signing.ExportCosign(text, list[0])
	if err != nil {
		return nil, openHint(fmt.Errorf("key %s: %w", e.ID, err))
	}
	return out, nil
}
