package authenticode_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
)

// FuzzRead reads any bytes. What can be read can be signed, and reads then as
// signed.
func FuzzRead(f *testing.F) {
	id := identity(f, ecdsaKey(f, elliptic.P256(), 9), "test")
	f.Add([]byte("MZ"))
	f.Add(program(0))
	f.Add(sign(f, program(5), false, id))
	f.Add(sign(f, program(0), false, id, identity(f, testKey(f, "rsa2048-test"), "other")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := authenticode.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		_, _ = file.Verify(id.Certificate)
		var out bytes.Buffer
		err = authenticode.Sign(t.Context(), &out, bytes.NewReader(data), int64(len(data)),
			&authenticode.Options{Identities: []authenticode.Identity{id}})
		require.NoError(t, err)
		again := read(t, out.Bytes())
		require.Equal(t, file.Digest, again.Digest)
		_, err = again.Verify(id.Certificate)
		require.NoError(t, err)
	})
}

// FuzzSignature reads any bytes as the signature of a good file.
func FuzzSignature(f *testing.F) {
	id := identity(f, ecdsaKey(f, elliptic.P256(), 9), "test")
	file := program(0)
	f.Add(read(f, sign(f, file, false, id)).Signatures[0].DER)
	f.Add(read(f, sign(f, file, false, identity(f, testKey(f, "rsa2048-test"), "other"))).Signatures[0].DER)
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) > 1<<19 {
			return
		}
		entry := binary.LittleEndian.AppendUint32(nil, uint32(8+len(der)))
		entry = append(append(entry, 0, 2, 2, 0), der...)
		entry = append(entry, make([]byte, -len(entry)&7)...)
		signed := append(program(0), entry...)
		binary.LittleEndian.PutUint32(signed[optional+144:], uint32(len(file)))
		binary.LittleEndian.PutUint32(signed[optional+148:], uint32(len(entry)))
		_, _ = read(t, signed).Verify(id.Certificate)
		err := authenticode.Sign(t.Context(), io.Discard, bytes.NewReader(signed), int64(len(signed)),
			&authenticode.Options{Identities: []authenticode.Identity{id}, Keep: true})
		require.NoError(t, err)
	})
}
