package authenticode

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// WIN_CERTIFICATE of Microsoft's paper and the UEFI specification: a
	// length with this header in it, a revision, a type.
	entryHeader   = 8
	entryRevision = 0x0200
	entryCMS      = 0x0002 // WIN_CERT_TYPE_PKCS_SIGNED_DATA

	maxSignatures   = 16
	maxCertificates = 16 // of one signature
	maxAttributes   = 16
	maxChain        = 8
)

// File is what is to know of a PE file's signatures.
type File struct {
	Digest     [sha256.Size]byte // what a signature of this file is over
	Signatures []Signature       // in the order of the file
}

// Signature is the signature of one signer.
type Signature struct {
	// DER is the signature by itself, a CMS ContentInfo. Signers who signed
	// together have the same.
	DER []byte
	// Certificate is the signer's; nil if the signature cannot be read.
	Certificate *x509.Certificate
	// Certificates are all that came with the signature, of all its signers.
	Certificates []*x509.Certificate
	// Err says what is wrong: the signature is of another file, or does not
	// verify with its own certificate, or cannot be read. Without it the
	// signature is good, which does not mean that its certificate is trusted.
	Err error
}

// Key names the kind and size of the signer's key, such as "RSA-2048".
func (s *Signature) Key() string {
	if s.Certificate == nil {
		return "unknown"
	}
	return describeKey(s.Certificate.PublicKey)
}

// Read reads the signatures of the 64-bit PE file that fills the first size
// bytes of r, and checks each. A damaged signature is no error; a file that
// cannot be signed is.
func Read(r io.ReaderAt, size int64) (*File, error) {
	l, err := readLayout(r, size)
	if err != nil {
		return nil, fmt.Errorf("PE file: %w", err)
	}
	f := &File{}
	if f.Digest, err = l.digest(); err != nil {
		return nil, fmt.Errorf("PE file: %w", err)
	}
	entries, err := splitTable(l.table)
	if err != nil {
		return nil, fmt.Errorf("PE file: signatures: %w", err)
	}
	for _, e := range entries {
		if f.Signatures = append(f.Signatures, e.signatures(f.Digest)...); len(f.Signatures) > maxSignatures {
			return nil, fmt.Errorf("PE file: signatures: more than %d signers", maxSignatures)
		}
	}
	return f, nil
}

// Verify returns the first good signature whose certificate is one of the
// trusted or was issued by one, directly or through certificates that came
// with it. As in firmware, validity in time is not looked at.
func (f *File) Verify(trusted ...*x509.Certificate) (*Signature, error) {
	if len(f.Signatures) == 0 {
		return nil, errors.New("PE file: is not signed")
	}
	var problems []error
	for i := range f.Signatures {
		s := &f.Signatures[i]
		err := s.Err
		if err == nil && !s.trusted(trusted) {
			err = fmt.Errorf("by %q, which is not trusted", s.Certificate.Subject)
		}
		if err == nil {
			return s, nil
		}
		problems = append(problems, fmt.Errorf("PE file: signature %d: %w", i+1, err))
	}
	return nil, errors.Join(problems...)
}

func (s *Signature) trusted(anchors []*x509.Certificate) bool {
	c := s.Certificate
	for range maxChain {
		if containsCertificate(anchors, c) || issuer(c, anchors) != nil {
			return true
		}
		if c = issuer(c, s.Certificates); c == nil {
			return false
		}
	}
	return false
}

// issuer finds who issued a certificate, other than itself.
func issuer(c *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, i := range among {
		if !i.Equal(c) && bytes.Equal(i.RawSubject, c.RawIssuer) && checkKey(i.PublicKey) == nil &&
			i.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return i
		}
	}
	return nil
}

// entry is one of the table of signatures.
type entry struct {
	revision, kind uint16
	content        []byte
}

func splitTable(table []byte) ([]entry, error) {
	var entries []entry
	for at := 0; at < len(table); {
		rest := table[at:]
		if len(rest) < entryHeader {
			return nil, fmt.Errorf("%d bytes after the last", len(rest))
		}
		if len(entries) == maxSignatures {
			return nil, fmt.Errorf("more than %d", maxSignatures)
		}
		size := int64(binary.LittleEndian.Uint32(rest))
		if size < entryHeader || size > int64(len(rest)) {
			return nil, fmt.Errorf("signature %d has %d bytes, %d are left", len(entries)+1, size, len(rest))
		}
		entries = append(entries, entry{
			binary.LittleEndian.Uint16(rest[4:]), binary.LittleEndian.Uint16(rest[6:]), rest[entryHeader:size],
		})
		at += int(size+tableAlignment-1) &^ (tableAlignment - 1)
	}
	return entries, nil
}

// addEntry appends a signature to a table.
func addEntry(table []byte, e entry) []byte {
	table = binary.LittleEndian.AppendUint32(table, uint32(entryHeader+len(e.content)))
	table = binary.LittleEndian.AppendUint16(table, e.revision)
	table = binary.LittleEndian.AppendUint16(table, e.kind)
	table = append(table, e.content...)
	return append(table, make([]byte, -len(table)&(tableAlignment-1))...)
}

// signatures reads an entry and checks its signatures against the file's
// digest. There is always one.
func (e *entry) signatures(digest [sha256.Size]byte) []Signature {
	damaged := func(err error) []Signature { return []Signature{{DER: e.content, Err: err}} }
	if e.kind != entryCMS || e.revision != entryRevision {
		return damaged(fmt.Errorf("is of type %#x, revision %#x, want %#x and %#x",
			e.kind, e.revision, entryCMS, entryRevision))
	}
	data, err := parseSignedData(e.content)
	if err != nil {
		return damaged(err)
	}
	certificates, err := parseCertificates(data.certificates)
	if err != nil {
		return damaged(err)
	}
	var list []Signature
	for i := range data.signers {
		info := &data.signers[i]
		s := Signature{DER: e.content[:data.size], Certificates: certificates}
		for _, c := range certificates {
			if bytes.Equal(c.RawIssuer, info.issuer) && c.SerialNumber.Cmp(info.serial) == 0 {
				s.Certificate = c
			}
		}
		s.Err = s.check(info, data, digest)
		list = append(list, s)
	}
	return list
}

func parseCertificates(raw cryptobyte.String) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for len(raw) > 0 {
		var der cryptobyte.String
		if len(list) == maxCertificates || !raw.ReadASN1Element(&der, tags.SEQUENCE) {
			return nil, errSyntax
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// check says what is wrong with one signer's part.
func (s *Signature) check(info *signerInfo, data *signedData, digest [sha256.Size]byte) error {
	if s.Certificate == nil {
		return fmt.Errorf("lacks the certificate of its signer, serial number %v", info.serial)
	}
	if err := checkKey(s.Certificate.PublicKey); err != nil {
		return err
	}
	if info.messageDigest != sha256.Sum256(data.content) {
		return errors.New("is damaged: content and digest differ")
	}
	signed, err := setDigest(info.attributes)
	if err != nil {
		return err
	}
	if !verifyDigest(s.Certificate.PublicKey, signed, info.signature) {
		return fmt.Errorf("is bad: does not verify with the key of %q", s.Certificate.Subject)
	}
	if data.fileDigest != digest {
		return fmt.Errorf("is of other content: SHA-256 %x, the file has %x", data.fileDigest, digest)
	}
	return nil
}
