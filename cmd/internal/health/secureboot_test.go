package health_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
	"slipway/build/efivar"
)

type keySigner struct{ crypto.Signer }

func (k keySigner) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return k.Sign(nil, digest[:], crypto.SHA256)
}

// program is the smallest PE file that can be signed.
func program() string {
	b := make([]byte, 0x400)
	copy(b, "MZ")
	b[0x3c] = 0x40
	copy(b[0x40:], "PE\x00\x00\x64\x86\x01\x00")
	b[0x54] = 160
	binary.LittleEndian.PutUint16(b[0x58:], 0x20b)
	binary.LittleEndian.PutUint32(b[0x58+60:], 0x200)
	binary.LittleEndian.PutUint32(b[0x58+108:], 6)
	binary.LittleEndian.PutUint32(b[0x58+160+16:], 0x200)
	binary.LittleEndian.PutUint32(b[0x58+160+20:], 0x200)
	return string(b)
}

// With Secure Boot the firmware must be able to start a new stage 1, or the
// machine would never start again.
func TestSecureBootKeepsStage1(t *testing.T) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 7))
	require.NoError(t, err)
	id := authenticode.Identity{Signer: keySigner{private}}
	id.Certificate, err = authenticode.SelfSigned(t.Context(), id.Signer, "test")
	require.NoError(t, err)
	var signed bytes.Buffer
	require.NoError(t, authenticode.Sign(t.Context(), &signed, bytes.NewReader([]byte(program())), int64(len(program())),
		&authenticode.Options{Identities: []authenticode.Identity{id}}))
	const old = "stage 1 of " + oldVersion
	tests := []struct {
		name, secure, stage, want, say string
	}{
		{"off", "\x06\x00\x00\x00\x00", program(), program(), ""},
		{"signed", "\x06\x00\x00\x00\x01", signed.String(), signed.String(), ""},
		{"unsigned", "\x06\x00\x00\x00\x01", program(), old,
			"stage 1: this version's would not start with Secure Boot: variable db: does not vouch for the file: PE file: is not signed\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := trial(t)
			const dir = "sys/firmware/efi/efivars/"
			m.file(dir+"SecureBoot-"+efivar.Global, test.secure)
			m.file(dir+"db-"+efivar.Security, "\x27\x00\x00\x00"+string(efivar.Certificates(uuid.Nil, id.Certificate)))
			m.file("usr/lib/slipway/boot.efi", test.stage)
			require.Zero(t, m.judge(), m.out)
			assert.Equal(t, test.want, m.stage1())
			assert.Contains(t, m.slots(), "USR-B priority=2 tries=0 successful=1")
			assert.Contains(t, m.out.String(), test.say)
		})
	}
}
