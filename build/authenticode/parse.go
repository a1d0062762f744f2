package authenticode

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

var errSyntax = errors.New("is not a SignedData in DER")

// signedData is what Authenticode has to say in a SignedData.
type signedData struct {
	size         int // of the whole ContentInfo
	certificates cryptobyte.String
	content      []byte // of the SpcIndirectDataContent, without tag
	fileDigest   [sha256.Size]byte
	signers      []signerInfo
}

type signerInfo struct {
	issuer        []byte
	serial        *big.Int
	attributes    []byte
	messageDigest [sha256.Size]byte
	signature     []byte
}

// parseSignedData reads a ContentInfo with a SignedData. Zeros may follow it:
// some signers count the padding in.
func parseSignedData(der []byte) (*signedData, error) {
	input := cryptobyte.String(der)
	var outer, explicit, data cryptobyte.String
	if !input.ReadASN1(&outer, tags.SEQUENCE) || len(bytes.Trim(input, "\x00")) > 0 ||
		!readOID(&outer, oidSignedData) || !outer.ReadASN1(&explicit, tag0) || !outer.Empty() ||
		!explicit.ReadASN1(&data, tags.SEQUENCE) || !explicit.Empty() {
		return nil, errSyntax
	}
	var version int
	var algorithms, content, wrapped, inner, signers cryptobyte.String
	d := &signedData{size: len(der) - len(input)}
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
		!data.ReadASN1(&signers, tags.SET) || !data.Empty() || signers.Empty() {
		return nil, errSyntax
	}
	for !signers.Empty() {
		var one cryptobyte.String
		if len(d.signers) == maxSignatures || !signers.ReadASN1(&one, tags.SEQUENCE) {
			return nil, errSyntax
		}
		info, err := readSigner(one)
		if err != nil {
			return nil, err
		}
		d.signers = append(d.signers, *info)
	}
	return d, nil
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
func readSigner(raw cryptobyte.String) (*signerInfo, error) {
	var version int
	var id, issuer, attributes, signature cryptobyte.String
	s := &signerInfo{serial: new(big.Int)}
	if !raw.ReadASN1Integer(&version) || version != 1 || !raw.ReadASN1(&id, tags.SEQUENCE) ||
		!id.ReadASN1Element(&issuer, tags.SEQUENCE) || !id.ReadASN1Integer(s.serial) || !id.Empty() {
		return nil, errSyntax
	}
	if err := readAlgorithm(&raw, oidSHA256); err != nil {
		return nil, err
	}
	if !raw.ReadASN1(&attributes, tag0) {
		return nil, errSyntax
	}
	if err := readAlgorithm(&raw, oidRSA, oidRSAWithSHA256, oidECDSAWithSHA256); err != nil {
		return nil, err
	}
	if !raw.ReadASN1(&signature, tags.OCTET_STRING) || !raw.SkipOptionalASN1(tag1) || !raw.Empty() {
		return nil, errSyntax
	}
	s.issuer, s.attributes, s.signature = issuer, attributes, signature
	return s, s.readAttributes(attributes)
}

// readAttributes finds the two attributes that bind a signature to content.
func (s *signerInfo) readAttributes(attributes cryptobyte.String) error {
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
			s.messageDigest = [sha256.Size]byte(sum)
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
