package authenticode

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// maxCertificateFile bounds what ParseCertificates reads, in bytes.
const maxCertificateFile = 64 << 10

// SelfSigned makes a certificate for a key that firmware is to trust by
// itself. It is a function of the key and the name alone, if the signer is
// deterministic: every run gives the certificate that firmware already has. It
// is valid from 2013 to the end of time as RFC 5280 has it (4.1.2.5), which
// firmware does not look at.
func SelfSigned(ctx context.Context, s Signer, commonName string) (*x509.Certificate, error) {
	public := s.Public()
	if err := checkKey(public); err != nil {
		return nil, fmt.Errorf("certificate of %q: %w", commonName, err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("certificate of %q: %w", commonName, err)
	}
	serial := sha256.Sum256(spki)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of one length
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial[:16]),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             time.Date(2013, 7, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.SHA256WithRSA,
	}
	if _, ok := public.(*ecdsa.PublicKey); ok {
		template.SignatureAlgorithm = x509.ECDSAWithSHA256
	}
	der, err := x509.CreateCertificate(nil, template, template, public, digestSigner{ctx, s})
	if err != nil {
		return nil, fmt.Errorf("certificate of %q: %w", commonName, err)
	}
	return x509.ParseCertificate(der)
}

// digestSigner is a Signer as package crypto knows signers.
type digestSigner struct {
	ctx context.Context // for the one call of CreateCertificate
	Signer
}

func (d digestSigner) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if o.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, fmt.Errorf("internal error: asked to sign a digest of %d bytes by %v", len(digest), o.HashFunc())
	}
	return d.SignDigest(d.ctx, [sha256.Size]byte(digest))
}

// ParseCertificates reads certificates in PEM form, or one in DER form, of 64
// KiB at most. There is at least one if there is no error.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxCertificateFile {
		return nil, fmt.Errorf("certificate: %d bytes, want at most %d", len(text), maxCertificateFile)
	}
	if c, err := x509.ParseCertificate(text); err == nil {
		return []*x509.Certificate{c}, nil
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("certificate: neither DER nor PEM of kind CERTIFICATE")
	}
	return list, nil
}
