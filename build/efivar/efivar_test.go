package efivar_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
	"slipway/build/efivar"
	"slipway/build/tools/toolstest"
)

type keySigner struct{ crypto.Signer }

func (k keySigner) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return k.Sign(nil, digest[:], crypto.SHA256)
}

func identity(t testing.TB) *authenticode.Identity {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 7))
	require.NoError(t, err)
	s := keySigner{key}
	c, err := authenticode.SelfSigned(t.Context(), s, "test")
	require.NoError(t, err)
	return &authenticode.Identity{Signer: s, Certificate: c}
}

func owner() uuid.UUID { return uuid.MustParse("01234567-89ab-cdef-0123-456789abcdef") }

func made() time.Time { return time.Date(2026, 11, 21, 8, 30, 15, 0, time.UTC) }

// blank is an empty variable store, as of OVMF but small.
func blank() []byte {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = 0xff
	}
	clear(b[:100])
	guid := func(at int, text string) { raw, _ := hex.DecodeString(text); copy(b[at:], raw) }
	guid(16, "8d2bf1ff96768b4ca9852747075b4f50")
	binary.LittleEndian.PutUint64(b[32:], uint64(len(b)))
	copy(b[40:], "_FVH")
	binary.LittleEndian.PutUint16(b[48:], 72)
	guid(72, "782cf3aa7b949a43a1802e144ec37792")
	binary.LittleEndian.PutUint32(b[88:], 4096-72)
	b[92], b[93] = 0x5a, 0xfe
	return b
}

func TestLists(t *testing.T) {
	c := identity(t).Certificate
	b := efivar.Certificates(owner(), c, c)
	assert.Equal(t, "a159c0a5e494a74a87b5ab155c2bf072", hex.EncodeToString(b[:16]))
	assert.Equal(t, "67452301ab89efcd0123456789abcdef", hex.EncodeToString(b[28:44]))
	b = append(b, efivar.Hashes(owner(), [32]byte{1}, [32]byte{2})...)
	entries, err := efivar.ParseLists(b)
	require.NoError(t, err)
	x509Kind, hash := uuid.MustParse(efivar.KindX509), uuid.MustParse(efivar.KindSHA256)
	one, two := [32]byte{1}, [32]byte{2}
	assert.Equal(t, []efivar.Entry{
		{Kind: x509Kind, Owner: owner(), Data: c.Raw}, {Kind: x509Kind, Owner: owner(), Data: c.Raw},
		{Kind: hash, Owner: owner(), Data: one[:]}, {Kind: hash, Owner: owner(), Data: two[:]},
	}, entries)
	assert.Empty(t, efivar.Hashes(owner()))
}

func TestParseListsErrors(t *testing.T) {
	put := func(at int, v uint32) []byte {
		b := efivar.Hashes(owner(), [32]byte{1})
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	tests := []struct {
		name    string
		data    []byte
		wantErr string
	}{
		{"short", make([]byte, 27), "signature list: 27 bytes are left, a header has 28"},
		{"long", put(16, 77), "signature list: 77 bytes with a header of 0 and entries of 48, 76 bytes are left"},
		{"small", put(16, 27), "signature list: 27 bytes with a header of 0 and entries of 48, 76 bytes are left"},
		{"header", put(20, 1<<31), "signature list: 76 bytes with a header of 2147483648 and entries of 48, 76 bytes are left"},
		{"empty entries", put(24, 16), "signature list: 76 bytes with a header of 0 and entries of 16, 76 bytes are left"},
		{"uneven entries", put(24, 47), "signature list: 76 bytes with a header of 0 and entries of 47, 76 bytes are left"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := efivar.ParseLists(test.data)
			assert.EqualError(t, err, test.wantErr)
		})
	}
}

// TestSignUpdate takes an update apart by hand.
func TestSignUpdate(t *testing.T) {
	id := identity(t)
	v, err := efivar.SecureBoot("db", efivar.Certificates(owner(), id.Certificate), made())
	require.NoError(t, err)
	b, err := v.SignUpdate(t.Context(), id)
	require.NoError(t, err)
	again, err := v.SignUpdate(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, b, again)
	assert.Equal(t, "ea070b15081e0f000000000000000000", hex.EncodeToString(b[:16]), "time")
	size := binary.LittleEndian.Uint32(b[16:])
	assert.Equal(t, "0002f10e"+"9dd2af4adf68ee498aa9347d375665a7", hex.EncodeToString(b[20:40]))
	assert.Equal(t, v.Data, b[16+size:])
	assert.Equal(t, byte(0x30), b[40])

	_, err = efivar.SecureBoot("MOK", nil, made())
	assert.EqualError(t, err, `variable "MOK": Secure Boot knows PK, KEK, db and dbx`)
	v.Time = time.Time{}
	_, err = v.SignUpdate(t.Context(), id)
	assert.EqualError(t, err, `variable "db": year 1 is not between 1900 and 9999`)
}

func TestStore(t *testing.T) {
	id := identity(t)
	s, err := efivar.OpenStore(blank())
	require.NoError(t, err)
	var want []efivar.Variable
	for _, name := range []string{"db", "KEK", "PK"} {
		v, err := efivar.SecureBoot(name, efivar.Certificates(owner(), id.Certificate), made())
		require.NoError(t, err)
		want = append(want, *v)
	}
	want = append(want, efivar.Variable{
		Name: "Tëst", Vendor: owner(), Attributes: efivar.NonVolatile, Data: []byte{1},
	})
	require.NoError(t, s.Add(want...))
	again, err := efivar.OpenStore(s.Bytes())
	require.NoError(t, err)
	got, err := again.Variables()
	require.NoError(t, err)
	assert.Equal(t, want, got)

	assert.EqualError(t, s.Add(want[1]), `variable store: variable "KEK" is there already`)
	want[1].Name, want[1].Data = "Big", make([]byte, 3000)
	assert.ErrorContains(t, s.Add(want[1]), `variable store: variable "Big" needs 3068 bytes, `)
}

func TestStoreErrors(t *testing.T) {
	tests := []struct {
		name    string
		change  func(b []byte) []byte
		wantErr string
	}{
		{"empty", func([]byte) []byte { return nil }, "variable store: 0 bytes, want 100 to 4194304"},
		{"volume", func(b []byte) []byte { b[40] = 0; return b }, "variable store: not a firmware volume of variables"},
		{"header", func(b []byte) []byte { b[49] = 16; return b }, "variable store: volume header of 4168 bytes in 4096"},
		{"kind", func(b []byte) []byte { b[72]++; return b },
			"variable store: kind is aaf32c79-947b-439a-a180-2e144ec37792, want aaf32c78-947b-439a-a180-2e144ec37792 (authenticated)"},
		{"size", func(b []byte) []byte { b[89] = 0x20; return b },
			"variable store: 8376 bytes of 4024, format 0x5a, state 0xfe, want 0x5a and 0xfe"},
		{"state", func(b []byte) []byte { b[93] = 0xff; return b },
			"variable store: 4024 bytes of 4024, format 0x5a, state 0xff, want 0x5a and 0xfe"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := efivar.OpenStore(test.change(blank()))
			assert.EqualError(t, err, test.wantErr)
		})
	}
	b := blank()
	copy(b[100:], []byte{0xaa, 0x55, 0x3f, 0})
	s, err := efivar.OpenStore(b)
	require.NoError(t, err)
	_, err = s.Variables()
	assert.EqualError(t, err, "variable store: record at byte 100 has a name of 4294967295 and data of 4294967295 bytes, 3996 are left")
	clear(b[100:])
	assert.EqualError(t, s.Add(efivar.Variable{Name: "x"}), "variable store: what is behind the last variable is not erased")
}

// TestReadsForeignStore reads the store that Debian's firmware package made by
// running the firmware.
func TestReadsForeignStore(t *testing.T) {
	image, err := os.ReadFile(toolstest.Path(t, "run", "usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"))
	require.NoError(t, err)
	s, err := efivar.OpenStore(image)
	require.NoError(t, err)
	variables, err := s.Variables()
	require.NoError(t, err)
	subjects := map[string]string{}
	for _, v := range variables {
		if v.Name != "PK" && v.Name != "KEK" && v.Name != "db" {
			continue
		}
		assert.False(t, v.Time.IsZero())
		entries, err := efivar.ParseLists(v.Data)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		assert.Equal(t, efivar.KindX509, entries[0].Kind.String())
		c, err := x509.ParseCertificate(entries[0].Data)
		require.NoError(t, err)
		assert.Equal(t, v.Data, efivar.Certificates(entries[0].Owner, c), "our list of the same")
		subjects[v.Name] = c.Subject.String()
	}
	assert.Len(t, subjects, 3)
	t.Log(subjects)
}

func FuzzStore(f *testing.F) {
	s, err := efivar.OpenStore(blank())
	require.NoError(f, err)
	f.Add(blank())
	require.NoError(f, s.Add(efivar.Variable{Name: "x", Data: []byte{1, 2, 3}}, efivar.Variable{Name: "y"}))
	f.Add(s.Bytes())
	f.Fuzz(func(t *testing.T, image []byte) {
		s, err := efivar.OpenStore(image)
		if err != nil {
			return
		}
		before, err := s.Variables()
		if err != nil {
			return
		}
		if s.Add(efivar.Variable{Name: "added by the test", Data: []byte{1}}) == nil {
			after, err := s.Variables()
			require.NoError(t, err)
			require.Len(t, after, len(before)+1)
		}
	})
}

func FuzzParseLists(f *testing.F) {
	f.Add(efivar.Hashes(owner(), [32]byte{1}, [32]byte{2}))
	f.Add(efivar.Certificates(owner(), identity(f).Certificate))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := efivar.ParseLists(data)
		if err == nil {
			require.LessOrEqual(t, len(entries), 4096)
		}
	})
}
