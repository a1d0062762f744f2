package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"slipway/build/authenticode"
	"slipway/cmd/internal/hint"
	"slipway/signing"
)

// secureBootFlags name who signs the UKI for firmware.
func secureBootFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "secureboot-key", Usage: "sign the UKI for Secure Boot with the RSA or ECDSA key " +
			"`REF`, as for --key; may be repeated"},
		&cli.StringSliceFlag{Name: "secureboot-cert", Usage: "the certificate firmware has for that key, or for a key that " +
			"signs the image, is in `FILE`; may be repeated"},
	}
}

// openSecureBoot finds who signs the UKI: the keys that are named for it, or
// those that sign the image if only certificates are named. A key without a
// certificate gets one that is signed by itself, always the same.
func openSecureBoot(ctx context.Context, keys *signers, o *signOptions, refs, files []string) ([]authenticode.Identity, error) {
	certificates, err := readCertificates(files)
	if err != nil {
		return nil, err
	}
	named, err := openSecureBootKeys(ctx, keys, o, refs)
	if err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		for _, s := range keys.image {
			if certificateOf(certificates, s) != nil {
				named = append(named, s)
			}
		}
		if len(named) == 0 && len(files) > 0 {
			return nil, hint.Add(hint.Usagef("build: --secureboot-cert %s: is of none of the keys that sign the image", files[0]),
				"--secureboot-key REF names its key")
		}
	}
	var list []authenticode.Identity
	for _, s := range named {
		id, err := secureBootIdentity(ctx, s, certificates)
		if err != nil {
			return nil, err
		}
		list = append(list, *id)
	}
	return list, nil
}

// openSecureBootKeys opens what --secureboot-key names.
func openSecureBootKeys(ctx context.Context, keys *signers, o *signOptions, refs []string) ([]signing.Signer, error) {
	var list []signing.Signer
	for _, ref := range refs {
		s, err := signing.Open(ctx, ref, &signing.Options{
			Passwords: newPasswords(o.passwordFile).candidates, Outside: keys.outside,
		})
		if err != nil {
			return nil, openHint(err)
		}
		if s.Development() && !keys.development {
			return nil, fmt.Errorf("key %s: a development key does not sign the kernel of a release", s.KeyID())
		}
		if slices.ContainsFunc(list, func(other signing.Signer) bool { return other.KeyID() == s.KeyID() }) {
			return nil, hint.Usagef("build: --secureboot-key %s: %s is given twice", ref, s.KeyID())
		}
		list = append(list, s)
	}
	return list, nil
}

// secureBootIdentity joins a key with its certificate and the others, which
// may be those that issued it.
func secureBootIdentity(ctx context.Context, s signing.Signer, certificates []*x509.Certificate) (*authenticode.Identity, error) {
	id := &authenticode.Identity{Signer: s, Certificate: certificateOf(certificates, s)}
	if id.Certificate == nil {
		var err error
		ctx = signing.About(ctx, "certificate of the key itself for Secure Boot")
		if id.Certificate, err = authenticode.SelfSigned(ctx, s, "Slipway Secure Boot "+s.KeyID()); err != nil {
			return nil, hint.Add(err, "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out KEY.pem makes "+
				"a key that all firmware knows")
		}
	}
	for issued := id.Certificate; ; {
		i := slices.IndexFunc(certificates, func(c *x509.Certificate) bool {
			return !c.Equal(issued) && bytes.Equal(c.RawSubject, issued.RawIssuer) && !slices.ContainsFunc(id.Chain, c.Equal)
		})
		if i < 0 {
			return id, nil
		}
		issued = certificates[i]
		id.Chain = append(id.Chain, issued)
	}
}

// certificateOf finds the certificate of a key, nil if there is none.
func certificateOf(certificates []*x509.Certificate, s signing.Signer) *x509.Certificate {
	for _, c := range certificates {
		if public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(s.Public()) {
			return c
		}
	}
	return nil
}

func readCertificates(files []string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		some, err := authenticode.ParseCertificates(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, some...)
	}
	return list, nil
}

// signUKI signs a UKI; without identities it stays as it is.
func signUKI(ctx context.Context, uki []byte, ids []authenticode.Identity) ([]byte, error) {
	return signPE(ctx, "UKI", uki, &authenticode.Options{Identities: ids})
}

// signKernel signs the kernel in a UKI, which needs that only when it is
// started by another kernel. One that firmware started under Secure Boot takes
// none that is not signed by a key of the firmware's, and Debian's is none; it
// looks at one signature only.
func signKernel(ctx context.Context, kernel []byte, ids []authenticode.Identity) ([]byte, error) {
	return signPE(ctx, "kernel", kernel, &authenticode.Options{Identities: ids, Joint: true})
}

func signPE(ctx context.Context, what string, file []byte, o *authenticode.Options) ([]byte, error) {
	if len(o.Identities) == 0 {
		return file, nil
	}
	var out bytes.Buffer
	err := authenticode.Sign(ctx, &out, bytes.NewReader(file), int64(len(file)), o)
	if err != nil && !signing.OnlyPending(err) {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out.Bytes(), err
}
