// Package authenticode signs PE files, such as unified kernel images, in the
// way UEFI Secure Boot wants it, and reads such signatures. A signature is
// made by anything that can sign a SHA-256 digest, and equal inputs give equal
// bytes: the time of signing is left out.
//
// The formats are those of Microsoft's "Windows Authenticode Portable
// Executable Signature Format" (2008), of the UEFI specification's chapter
// "Secure Boot and Driver Signing", and of RFC 2315, the PKCS #7 that RFC 5652
// (CMS) grew out of.
//
// Keys are RSA or ECDSA (P-256, P-384), digests SHA-256. Counter-signatures,
// page hashes and signatures in signatures are not made, and passed over when
// read. Files are 64-bit ones.
package authenticode

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// Signer signs SHA-256 digests with one private key: RSA by PKCS#1 v1.5, ECDSA
// in ASN.1 form.
type Signer interface {
	Public() crypto.PublicKey
	SignDigest(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Identity is a key with the certificate by which firmware knows it.
type Identity struct {
	Signer      Signer
	Certificate *x509.Certificate
	// Chain are certificates between Certificate and the one firmware has, if
	// that is another.
	Chain []*x509.Certificate
}

// check refuses an identity that cannot sign, before anything is asked of its
// signer.
func (id *Identity) check() error {
	public, ok := id.Certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(id.Signer.Public()) {
		return fmt.Errorf("certificate of %q: is of another key", id.Certificate.Subject)
	}
	if err := checkKey(id.Certificate.PublicKey); err != nil {
		return fmt.Errorf("certificate of %q: %w", id.Certificate.Subject, err)
	}
	return nil
}

// sign has a digest signed and looks at the answer.
func (id *Identity) sign(ctx context.Context, digest [sha256.Size]byte) ([]byte, error) {
	signature, err := id.Signer.SignDigest(ctx, digest)
	if err != nil {
		return nil, err
	}
	if !verifyDigest(id.Certificate.PublicKey, digest, signature) {
		return nil, fmt.Errorf("certificate of %q: the signer's answer does not verify with it",
			id.Certificate.Subject)
	}
	return signature, nil
}

// Options says how to sign a file.
type Options struct {
	// Identities sign, each by itself and in this order. Firmware is content
	// with one that it trusts; several are for changing keys.
	Identities []Identity
	// Joint makes one signature by all identities together, for readers that
	// look at one only, such as the Linux kernel's kexec_file_load.
	Joint bool
	// Keep leaves the signatures that the file has in front of the new ones,
	// but for those by the same certificates.
	Keep bool
}

// Sign writes the PE file that fills the first size bytes of r with
// signatures. Its code and data are not changed.
func Sign(ctx context.Context, w io.Writer, r io.ReaderAt, size int64, o *Options) error {
	l, err := readLayout(r, size)
	if err != nil {
		return fmt.Errorf("PE file: %w", err)
	}
	for i := range o.Identities {
		if err := o.Identities[i].check(); err != nil {
			return err
		}
	}
	digest, err := l.digest()
	if err != nil {
		return fmt.Errorf("PE file: %w", err)
	}
	var table []byte
	if o.Keep {
		if table, err = keep(l.table, digest, o.Identities); err != nil {
			return fmt.Errorf("PE file: signatures: %w", err)
		}
	}
	signatures, err := signFile(ctx, o, digest)
	if err != nil {
		return err
	}
	for _, der := range signatures {
		table = addEntry(table, entry{entryRevision, entryCMS, der})
	}
	if len(table) > maxTable {
		return fmt.Errorf("PE file: signatures: %d bytes, at most %d are read", len(table), maxTable)
	}
	return l.write(w, table)
}

// keep is the table without signatures of the identities.
func keep(table []byte, digest [sha256.Size]byte, ids []Identity) ([]byte, error) {
	entries, err := splitTable(table)
	if err != nil {
		return nil, err
	}
	var kept []byte
	for _, e := range entries {
		again := false
		for _, s := range e.signatures(digest) {
			for _, id := range ids {
				again = again || s.Certificate != nil && s.Certificate.Equal(id.Certificate)
			}
		}
		if !again {
			kept = addEntry(kept, e)
		}
	}
	return kept, nil
}

// signFile gives the signatures of a file with that digest.
func signFile(ctx context.Context, o *Options, digest [sha256.Size]byte) ([][]byte, error) {
	content, err := indirectData(digest)
	if err != nil {
		return nil, err
	}
	attributes, err := signedAttributes(content)
	if err != nil {
		return nil, err
	}
	signed, err := setDigest(attributes)
	if err != nil {
		return nil, err
	}
	var signers []signer
	var pending []error
	for i := range o.Identities {
		id := &o.Identities[i]
		signature, err := id.sign(ctx, signed)
		if err != nil {
			pending = append(pending, err) // the others may have something to ask, too
			continue
		}
		signers = append(signers, signer{id, attributes, signature})
	}
	if len(pending) > 0 {
		return nil, errors.Join(pending...)
	}
	step := 1
	if o.Joint {
		step = max(len(signers), 1)
	}
	var signatures [][]byte
	for some := range slices.Chunk(signers, step) {
		data, err := encodeSignedData(content, some...)
		if err != nil {
			return nil, err
		}
		var b cryptobyte.Builder
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			oidSignedData.add(b)
			b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(data) })
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, der)
	}
	return signatures, nil
}

// SignDetached signs content that is elsewhere, of which it is given the
// SHA-256: a PKCS #7 SignedData without content, attributes and ContentInfo
// around it. This is what authenticated UEFI variables hold.
func SignDetached(ctx context.Context, id *Identity, digest [sha256.Size]byte) ([]byte, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	signature, err := id.sign(ctx, digest)
	if err != nil {
		return nil, err
	}
	return encodeSignedData(nil, signer{id, nil, signature})
}
