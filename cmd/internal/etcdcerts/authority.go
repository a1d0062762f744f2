package etcdcerts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte // of cert
}

// clockSkew is how far the clocks of machines may be behind.
const clockSkew = time.Hour

// authority reads NAME.pem and NAME.key of the directory, or makes them.
func (s *session) authority(name, subject string) (*authority, error) {
	certFile, keyFile := filepath.Join(s.Dir, name+".pem"), filepath.Join(s.Dir, name+".key")
	certText, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.newAuthority(name, subject)
	}
	if err != nil {
		return nil, err
	}
	keyText, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(certText, keyText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if s.Now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("%s: expired on %s", certFile, a.cert.NotAfter.Format(time.DateOnly))
	}
	return a, nil
}

func parseAuthority(certText, keyText []byte) (*authority, error) {
	block, _ := pem.Decode(certText)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	block, _ = pem.Decode(keyText)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("its .key file has no private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("its .key file is of another certificate")
	}
	if !cert.IsCA {
		return nil, errors.New("is no authority's certificate")
	}
	return &authority{cert, key, certText}, nil
}

// newAuthority makes an authority. The key is written first: a certificate
// without one would be in the way of the next call.
func (s *session) newAuthority(name, subject string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), s.Random)
	if err != nil {
		return nil, err
	}
	template, err := s.template()
	if err != nil {
		return nil, err
	}
	template.Subject = pkix.Name{CommonName: subject, Organization: []string{"etcd"}}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(s.Random, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyText, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := writeAside(filepath.Join(s.Dir, name+".key"), keyText, 0o600); err != nil {
		return nil, err
	}
	if err := writeAside(filepath.Join(s.Dir, name+".pem"), text, 0o644); err != nil {
		return nil, err
	}
	s.made.New = append(s.made.New, name+".pem", name+".key")
	return &authority{cert, key, text}, nil
}

// template is what all certificates have in common.
func (o *Options) template() (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(o.Random, serial); err != nil {
		return nil, err
	}
	serial[0] &= 0x7f // positive
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		NotBefore:    o.Now.Add(-clockSkew).UTC(),
		NotAfter:     o.Now.AddDate(0, 0, o.Days).UTC(),
	}, nil
}

// issue adds NAME.pem and NAME.key to files. With hosts it is a server's
// certificate, which servers show as clients too; etcd takes the common name
// of a client for its user and refuses its own gateway if the server's has one.
func (a *authority) issue(o *Options, f files, name, user string, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), o.Random)
	if err != nil {
		return err
	}
	template, err := o.template()
	if err != nil {
		return err
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.Subject = pkix.Name{CommonName: user, Organization: []string{"etcd"}}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(o.Random, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	f[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	f[name+".key"], err = encodeKey(key)
	return err
}

// token is a cluster token that no other authority's cluster has.
func (a *authority) token() string {
	return fmt.Sprintf("slipway-%x", sha256.Sum256(bytes.TrimSpace(a.pem)))[:24]
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
