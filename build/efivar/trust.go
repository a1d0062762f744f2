package efivar

import (
	"bytes"
	"crypto/x509"
	"fmt"

	"slipway/build/authenticode"
)

// Startable says nil if firmware whose variables db and dbx hold these entries
// starts a signed file, or a file that db names by its digest (UEFI
// specification, "Authorization Process"). Entries of kinds unknown here count
// for nothing. It cannot know whether the firmware understands the kind of key.
func Startable(f *authenticode.File, db, dbx []Entry) error {
	if named(dbx, f) {
		return fmt.Errorf("variable dbx: bars the file, SHA-256 %x", f.Digest)
	}
	if named(db, f) {
		return nil
	}
	var trusted []*x509.Certificate
	for _, e := range db {
		if e.Kind.String() != KindX509 || holds(dbx, e.Data) {
			continue
		}
		if c, err := x509.ParseCertificate(e.Data); err == nil {
			trusted = append(trusted, c)
		}
	}
	allowed := &authenticode.File{Digest: f.Digest}
	for _, s := range f.Signatures {
		barred := false
		for _, c := range s.Certificates {
			barred = barred || holds(dbx, c.Raw)
		}
		if !barred {
			allowed.Signatures = append(allowed.Signatures, s)
		}
	}
	if _, err := allowed.Verify(trusted...); err != nil {
		return fmt.Errorf("variable db: does not vouch for the file: %w", err)
	}
	return nil
}

// named says whether a list has the digest of the file.
func named(list []Entry, f *authenticode.File) bool {
	for _, e := range list {
		if e.Kind.String() == KindSHA256 && bytes.Equal(e.Data, f.Digest[:]) {
			return true
		}
	}
	return false
}

// holds says whether a list has a certificate.
func holds(list []Entry, der []byte) bool {
	for _, e := range list {
		if e.Kind.String() == KindX509 && bytes.Equal(e.Data, der) {
			return true
		}
	}
	return false
}
