package authenticode

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// Tags [0], [1] and [2] of a context, constructed, and [0] primitive.
const (
	tag0          = tags.Tag(0xa0)
	tag1          = tags.Tag(0xa1)
	tag2          = tags.Tag(0xa2)
	tag0Primitive = tags.Tag(0x80)
)

// oid is an object identifier. The names are those of RFC 2315, 5652, 5754 and
// 5758, and of Microsoft's paper on Authenticode.
type oid string

const (
	oidSignedData      oid = "1.2.840.113549.1.7.2"
	oidData            oid = "1.2.840.113549.1.7.1"
	oidContentType     oid = "1.2.840.113549.1.9.3"
	oidMessageDigest   oid = "1.2.840.113549.1.9.4"
	oidSHA256          oid = "2.16.840.1.101.3.4.2.1"
	oidRSA             oid = "1.2.840.113549.1.1.1"
	oidRSAWithSHA256   oid = "1.2.840.113549.1.1.11"
	oidECDSAWithSHA256 oid = "1.2.840.10045.4.3.2"
	oidIndirectData    oid = "1.3.6.1.4.1.311.2.1.4"  // SPC_INDIRECT_DATA_OBJID
	oidOpusInfo        oid = "1.3.6.1.4.1.311.2.1.12" // SPC_SP_OPUS_INFO_OBJID
	oidPEImage         oid = "1.3.6.1.4.1.311.2.1.15" // SPC_PE_IMAGE_DATAOBJ
)

// add writes the identifier.
func (o oid) add(b *cryptobyte.Builder) {
	var id asn1.ObjectIdentifier
	for arc := range bytes.SplitSeq([]byte(o), []byte{'.'}) {
		n := 0
		for _, digit := range arc {
			n = 10*n + int(digit-'0')
		}
		id = append(id, n)
	}
	b.AddASN1ObjectIdentifier(id)
}

// addAlgorithm writes an AlgorithmIdentifier. Only ECDSA's has no parameters.
func addAlgorithm(b *cryptobyte.Builder, algorithm oid) {
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		algorithm.add(b)
		if algorithm != oidECDSAWithSHA256 {
			b.AddASN1NULL()
		}
	})
}

// indirectData is the SpcIndirectDataContent of a PE file with this digest,
// without its outer tag and length, which its own digest leaves out. The file
// name in it is a text that all signing tools write.
func indirectData(digest [sha256.Size]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		oidPEImage.add(b)
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tags.BIT_STRING, func(b *cryptobyte.Builder) { b.AddUint8(0) })
			b.AddASN1(tag0, func(b *cryptobyte.Builder) {
				b.AddASN1(tag2, func(b *cryptobyte.Builder) {
					b.AddASN1(tag0Primitive, func(b *cryptobyte.Builder) {
						for _, r := range "<<<Obsolete>>>" {
							b.AddUint16(uint16(r))
						}
					})
				})
			})
		})
	})
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		addAlgorithm(b, oidSHA256)
		b.AddASN1OctetString(digest[:])
	})
	return b.Bytes()
}

// signedAttributes are the attributes of a signature over that content, the
// content of their SET.
func signedAttributes(content []byte) ([]byte, error) {
	sum := sha256.Sum256(content)
	values := map[oid]func(b *cryptobyte.Builder){
		oidContentType:   oidIndirectData.add,
		oidOpusInfo:      func(b *cryptobyte.Builder) { b.AddASN1(tags.SEQUENCE, func(*cryptobyte.Builder) {}) },
		oidMessageDigest: func(b *cryptobyte.Builder) { b.AddASN1OctetString(sum[:]) },
	}
	var attributes [][]byte
	for name, value := range values {
		var b cryptobyte.Builder
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			name.add(b)
			b.AddASN1(tags.SET, value)
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, der)
	}
	slices.SortFunc(attributes, bytes.Compare) // the order of DER's SET OF
	return slices.Concat(attributes...), nil
}

// signer is one signer of a SignedData.
type signer struct {
	*Identity
	attributes []byte // the content of their SET, nil for none
	signature  []byte
}

// info is a SignerInfo.
func (s *signer) info() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(s.Certificate.RawIssuer)
			b.AddASN1BigInt(s.Certificate.SerialNumber)
		})
		addAlgorithm(b, oidSHA256)
		if s.attributes != nil {
			b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(s.attributes) })
		}
		addAlgorithm(b, signatureAlgorithm(s.Certificate.PublicKey))
		b.AddASN1OctetString(s.signature)
	})
	return b.Bytes()
}

// encodeSignedData makes a SignedData. content is a SpcIndirectDataContent
// without its tag, or nil for a detached signature.
func encodeSignedData(content []byte, signers ...signer) ([]byte, error) {
	var infos [][]byte
	var certificates []*x509.Certificate
	for i := range signers {
		info, err := signers[i].info()
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
		for _, c := range append([]*x509.Certificate{signers[i].Certificate}, signers[i].Chain...) {
			if !containsCertificate(certificates, c) {
				certificates = append(certificates, c)
			}
		}
	}
	slices.SortFunc(infos, bytes.Compare) // the order of DER's SET OF
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(tags.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, oidSHA256) })
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			if content == nil {
				oidData.add(b)
				return
			}
			oidIndirectData.add(b)
			b.AddASN1(tag0, func(b *cryptobyte.Builder) {
				b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
			})
		})
		b.AddASN1(tag0, func(b *cryptobyte.Builder) {
			for _, c := range certificates {
				b.AddBytes(c.Raw)
			}
		})
		b.AddASN1(tags.SET, func(b *cryptobyte.Builder) { b.AddBytes(slices.Concat(infos...)) })
	})
	return b.Bytes()
}

// signatureAlgorithm names what CMS calls the way a key signs.
func signatureAlgorithm(public crypto.PublicKey) oid {
	if _, ok := public.(*ecdsa.PublicKey); ok {
		return oidECDSAWithSHA256
	}
	return oidRSA
}

// checkKey refuses keys that cannot sign for firmware.
func checkKey(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("RSA key of %d bits, want 2048 to 8192", bits)
		}
		return nil
	case *ecdsa.PublicKey:
		if name := k.Curve.Params().Name; name != "P-256" && name != "P-384" {
			return fmt.Errorf("ECDSA key on curve %s, want P-256 or P-384", name)
		}
		return nil
	case ed25519.PublicKey:
		return errors.New("key is Ed25519, which firmware does not know: Secure Boot needs RSA or ECDSA")
	}
	return fmt.Errorf("key of kind %T, want RSA or ECDSA", public)
}

// verifyDigest checks a signature over a SHA-256 digest.
func verifyDigest(public crypto.PublicKey, digest [sha256.Size]byte, signature []byte) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest[:], signature)
	}
	return false
}

// setDigest is the digest of attributes as they are signed: as a SET, though
// they are kept under another tag.
func setDigest(attributes []byte) ([sha256.Size]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tags.SET, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
	der, err := b.Bytes()
	return sha256.Sum256(der), err
}

// describeKey names a key's kind and size for people.
func describeKey(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", public)
}

// containsCertificate finds a certificate among others.
func containsCertificate(list []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(list, c.Equal)
}
