package finish_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/finish"
)

// certificate makes a self-signed certificate with the subject.
func certificate(t testing.TB, subject []byte) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.CreateCertificate(nil, &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: subject,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0),
	}, &x509.Certificate{RawSubject: subject}, key.Public(), key)
	require.NoError(t, err)
	return der
}

func subject(t testing.TB, name pkix.Name) []byte {
	t.Helper()
	raw, err := asn1.Marshal(name.ToRDNSequence())
	require.NoError(t, err)
	return raw
}

// subjects are names with the hash that OpenSSL gives them: those of authorities that
// everybody has, and text of every type and shape.
func subjects(t testing.TB) []struct {
	name string
	raw  []byte
} {
	t.Helper()
	value := func(tag int, text []byte) []byte {
		attribute, err := asn1.Marshal(struct {
			ID    asn1.ObjectIdentifier
			Value asn1.RawValue
		}{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.RawValue{Tag: tag, Bytes: text}})
		require.NoError(t, err)
		set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attribute})
		require.NoError(t, err)
		name, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: set})
		require.NoError(t, err)
		return name
	}
	return []struct {
		name string
		raw  []byte
	}{
		{"4042bcee", subject(t, pkix.Name{Country: []string{"US"},
			Organization: []string{"Internet Security Research Group"}, CommonName: "ISRG Root X1"})},
		{"3513523f", subject(t, pkix.Name{Country: []string{"US"}, Organization: []string{"DigiCert Inc"},
			OrganizationalUnit: []string{"www.digicert.com"}, CommonName: "DigiCert Global Root CA"})},
		{"1001acf7", subject(t, pkix.Name{Country: []string{"US"},
			Organization: []string{"Google Trust Services LLC"}, CommonName: "GTS Root R1"})},
		{"UTF-8", value(asn1.TagUTF8String, []byte("Főtanúsítvány  CA\t1 "))},
		{"Latin-1", value(asn1.TagT61String, []byte("F\xf6o BAR"))},
		{"BMP", value(asn1.TagBMPString, []byte{0, 'A', 0, ' ', 0, ' ', 1, 0x51})},
		{"IA5", value(asn1.TagIA5String, []byte(" a@B.c "))},
		{"empty", subject(t, pkix.Name{})},
	}
}

func TestSubjectHash(t *testing.T) {
	for _, s := range subjects(t)[:3] {
		hash, err := finish.SubjectHash(certificate(t, s.raw))
		require.NoError(t, err)
		assert.Equal(t, s.name, fmt.Sprintf("%08x", hash))
	}
}

func TestCertificates(t *testing.T) {
	text := func(s int) string {
		return string(pem.EncodeToMemory(&pem.Block{
			Type: "CERTIFICATE", Bytes: certificate(t, subjects(t)[s].raw)}))
	}
	u := run(t, files(t, "usr/share/ca-certificates/mozilla/B (x).crt: "+text(0)[:len(text(0))-1],
		"usr/share/ca-certificates/mozilla/C.crt: "+text(0), "usr/share/ca-certificates/a.crt: "+text(1),
		"usr/share/ca-certificates/README: no"), config(t, "{}"))
	certs := u.Sub("share/slipway/etc/ssl/certs")
	assert.Equal(t, text(1)+text(0)+text(0), content(t, certs, "ca-certificates.crt"))
	assert.Equal(t, "a.crt\nmozilla/B (x).crt\nmozilla/C.crt\n",
		content(t, u, "share/slipway/etc/ca-certificates.conf"))
	for link, target := range map[string]string{
		"4042bcee.0": "B_=x=.pem", "4042bcee.1": "C.pem", "3513523f.0": "a.pem",
		"B_=x=.pem": "/usr/share/ca-certificates/mozilla/B (x).crt",
	} {
		require.NotNil(t, certs.Lookup(link), link)
		assert.Equal(t, target, certs.Lookup(link).Target)
	}
}

func FuzzSubjectHash(f *testing.F) {
	for _, s := range subjects(f) {
		f.Add(certificate(f, s.raw))
	}
	f.Fuzz(func(_ *testing.T, der []byte) { _, _ = finish.SubjectHash(der) })
}
