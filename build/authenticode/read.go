package authenticode

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

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

// Signature is one signature of a file.
type Signature struct {
	// DER is the signature by itself, a CMS ContentInfo.
	DER []byte
	// Certificate is the signer's; nil if the signature cannot be read.
	Certificate *x509.Certificate
	// Certificates are all that came with the signature.
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
		s := Signature{DER: e.content}
		if e.kind != entryCMS || e.revision != entryRevision {
			s.Err = fmt.Errorf("is of type %#x, revision %#x, want %#x and %#x",
				e.kind, e.revision, entryCMS, entryRevision)
		} else if s.Err = s.read(f.Digest); s.Err == nil {
			s.DER = s.DER[:derSize(s.DER)]
		}
		f.Signatures = append(f.Signatures, s)
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

var errSyntax = errors.New("is not a SignedData in DER")

// read parses the signature and checks it against the file's digest.
func (s *Signature) read(digest [sha256.Size]byte) error {
	info, err := parseSignedData(s.DER)
	if err != nil {
		return err
	}
	for len(info.certificates) > 0 {
		var der cryptobyte.String
		if len(s.Certificates) == maxCertificates || !info.certificates.ReadASN1Element(&der, tags.SEQUENCE) {
			return errSyntax
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		s.Certificates = append(s.Certificates, c)
		if bytes.Equal(c.RawIssuer, info.issuer) && c.SerialNumber.Cmp(info.serial) == 0 {
			s.Certificate = c
		}
	}
	if s.Certificate == nil {
		return fmt.Errorf("lacks the certificate of its signer, serial number %v", info.serial)
	}
	if err := checkKey(s.Certificate.PublicKey); err != nil {
		return err
	}
	if info.messageDigest != sha256.Sum256(info.content) {
		return errors.New("is damaged: content and digest differ")
	}
	signed, err := setDigest(info.attributes)
	if err != nil {
		return err
	}
	if !verifyDigest(s.Certificate.PublicKey, signed, info.signature) {
		return fmt.Errorf("is bad: does not verify with the key of %q", s.Certificate.Subject)
	}
	if info.fileDigest != digest {
		return fmt.Errorf("is of other content: SHA-256 %x, the file has %x", info.fileDigest, digest)
	}
	return nil
}

// signedData is what Authenticode has to say in a SignedData.
type signedData struct {
	certificates  cryptobyte.String
	content       []byte // of the SpcIndirectDataContent, without tag
	fileDigest    [sha256.Size]byte
	issuer        []byte
	serial        *big.Int
	attributes    []byte
	messageDigest [sha256.Size]byte
	signature     []byte
}

// derSize is the size of the value that fills the start of der.
func derSize(der []byte) int {
	s := cryptobyte.String(der)
	var value cryptobyte.String
	if !s.ReadASN1Element(&value, tags.SEQUENCE) {
		return 0
	}
	return len(value)
}

// parseSignedData reads a ContentInfo with a SignedData of one signer. Zeros
// may follow it: some signers count the padding in.
func parseSignedData(der []byte) (*signedData, error) {
	input := cryptobyte.String(der)
	var outer, explicit, data cryptobyte.String
	if !input.ReadASN1(&outer, tags.SEQUENCE) || len(bytes.Trim(input, "\x00")) > 0 ||
		!readOID(&outer, oidSignedData) || !outer.ReadASN1(&explicit, tag0) || !outer.Empty() ||
		!explicit.ReadASN1(&data, tags.SEQUENCE) || !explicit.Empty() {
		return nil, errSyntax
	}
	var version int
	var algorithms, content, wrapped, inner, signers, signer cryptobyte.String
	d := &signedData{}
	if !data.ReadASN1Integer(&version) || version != 1 || !data.ReadASN1(&algorithms, tags.SET) {
		return nil, errSyntax
	}
	if err := readAlgorithm(&algorithms, oidSHA256); err != nil {
		return nil, err
	}
	if !algorithms.Empty() || !data.ReadASN1(&content, tags.SEQUENCE) || !readOID(&content, oidIndirectData) ||
		!content.ReadASN1(&wrapped, tag0) || !content.Empty() ||
		!wrapped.ReadASN1(&inner, tags.SEQUENCE) || !wrapped.Empty() {
		return nil, errSyntax
	}
	d.content = inner
	if err := d.readContent(inner); err != nil {
		return nil, err
	}
	if !data.ReadASN1(&d.certificates, tag0) || !data.SkipOptionalASN1(tag1) ||
		!data.ReadASN1(&signers, tags.SET) || !data.Empty() ||
		!signers.ReadASN1(&signer, tags.SEQUENCE) || !signers.Empty() {
		return nil, errSyntax
	}
	return d, d.readSigner(signer)
}

// readContent reads an SpcIndirectDataContent.
func (d *signedData) readContent(inner cryptobyte.String) error {
	var what, info, sum cryptobyte.String
	if !inner.ReadASN1(&what, tags.SEQUENCE) || !readOID(&what, oidPEImage) ||
		!inner.ReadASN1(&info, tags.SEQUENCE) || !inner.Empty() {
		return errSyntax
	}
	if err := readAlgorithm(&info, oidSHA256); err != nil {
		return err
	}
	if !info.ReadASN1(&sum, tags.OCTET_STRING) || !info.Empty() || len(sum) != sha256.Size {
		return errSyntax
	}
	d.fileDigest = [sha256.Size]byte(sum)
	return nil
}

// readSigner reads a SignerInfo.
func (d *signedData) readSigner(signer cryptobyte.String) error {
	var version int
	var id, issuer, attributes, signature cryptobyte.String
	d.serial = new(big.Int)
	if !signer.ReadASN1Integer(&version) || version != 1 || !signer.ReadASN1(&id, tags.SEQUENCE) ||
		!id.ReadASN1Element(&issuer, tags.SEQUENCE) || !id.ReadASN1Integer(d.serial) || !id.Empty() {
		return errSyntax
	}
	if err := readAlgorithm(&signer, oidSHA256); err != nil {
		return err
	}
	if !signer.ReadASN1(&attributes, tag0) {
		return errSyntax
	}
	if err := readAlgorithm(&signer, oidRSA, oidRSAWithSHA256, oidECDSAWithSHA256); err != nil {
		return err
	}
	if !signer.ReadASN1(&signature, tags.OCTET_STRING) || !signer.SkipOptionalASN1(tag1) || !signer.Empty() {
		return errSyntax
	}
	d.issuer, d.attributes, d.signature = issuer, attributes, signature
	return d.readAttributes(attributes)
}

// readAttributes finds the two attributes that bind a signature to content.
func (d *signedData) readAttributes(attributes cryptobyte.String) error {
	seen := map[string]bool{}
	for !attributes.Empty() {
		var attribute, values cryptobyte.String
		var name asn1.ObjectIdentifier
		if len(seen) == maxAttributes || !attributes.ReadASN1(&attribute, tags.SEQUENCE) ||
			!attribute.ReadASN1ObjectIdentifier(&name) ||
			!attribute.ReadASN1(&values, tags.SET) || !attribute.Empty() || seen[name.String()] {
			return errSyntax
		}
		seen[name.String()] = true
		switch oid(name.String()) {
		case oidContentType:
			if !readOID(&values, oidIndirectData) || !values.Empty() {
				return errSyntax
			}
		case oidMessageDigest:
			var sum cryptobyte.String
			if !values.ReadASN1(&sum, tags.OCTET_STRING) || !values.Empty() || len(sum) != sha256.Size {
				return errSyntax
			}
			d.messageDigest = [sha256.Size]byte(sum)
		}
	}
	if !seen[string(oidContentType)] || !seen[string(oidMessageDigest)] {
		return errors.New("does not say what it signs: no content type and digest among its attributes")
	}
	return nil
}

func readOID(s *cryptobyte.String, want oid) bool {
	var id asn1.ObjectIdentifier
	return s.ReadASN1ObjectIdentifier(&id) && oid(id.String()) == want
}

// readAlgorithm reads an AlgorithmIdentifier that must be one of some.
func readAlgorithm(s *cryptobyte.String, want ...oid) error {
	var algorithm cryptobyte.String
	var id asn1.ObjectIdentifier
	if !s.ReadASN1(&algorithm, tags.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) {
		return errSyntax
	}
	if !slices.Contains(want, oid(id.String())) {
		return fmt.Errorf("uses algorithm %v, which is not supported", id)
	}
	var null cryptobyte.String // the parameters there may be
	if !algorithm.Empty() && (!algorithm.ReadASN1(&null, tags.NULL) || !null.Empty() || !algorithm.Empty()) {
		return errSyntax
	}
	return nil
}
