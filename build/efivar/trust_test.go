package efivar_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
	"slipway/build/efivar"
)

func TestStartable(t *testing.T) {
	c := identity(t).Certificate
	signed := &authenticode.File{Digest: [32]byte{1}, Signatures: []authenticode.Signature{
		{Certificate: c, Certificates: []*x509.Certificate{c}},
	}}
	unsigned := &authenticode.File{Digest: [32]byte{1}}
	damaged := &authenticode.File{Digest: [32]byte{1}, Signatures: []authenticode.Signature{
		{Certificate: c, Certificates: []*x509.Certificate{c}, Err: errors.New("is bad")},
	}}
	certificate := efivar.Certificates(owner(), c)
	digest := efivar.Hashes(owner(), [32]byte{2}, [32]byte{1})
	tests := []struct {
		name    string
		file    *authenticode.File
		db, dbx []byte
		wantErr string
	}{
		{"signed", signed, certificate, nil, ""},
		{"by digest", unsigned, digest, nil, ""},
		{"unsigned", unsigned, certificate, nil, "variable db: does not vouch for the file: PE file: is not signed"},
		{"damaged", damaged, certificate, nil,
			"variable db: does not vouch for the file: PE file: signature 1: is bad"},
		{"unknown", signed, nil, nil,
			`variable db: does not vouch for the file: PE file: signature 1: by "CN=test", which is not trusted`},
		{"barred", signed, certificate, certificate,
			"variable db: does not vouch for the file: PE file: is not signed"},
		{"barred by digest", signed, certificate, digest,
			"variable dbx: bars the file, SHA-256 0100000000000000000000000000000000000000000000000000000000000000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db, err := efivar.ParseLists(test.db)
			require.NoError(t, err)
			dbx, err := efivar.ParseLists(test.dbx)
			require.NoError(t, err)
			err = efivar.Startable(test.file, db, dbx)
			if test.wantErr == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.wantErr)
			}
		})
	}
}
